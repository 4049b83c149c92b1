-- Keys that access tokens are signed with (Ed25519). The private part is sealed with the service's secret.
create table signing_keys (
    kid        text        not null,
    public     bytea       not null,
    sealed     bytea       not null,
    created_at timestamptz not null default clock_timestamp(),
    retired_at timestamptz,
    constraint signing_keys_pk primary key (kid)
);
