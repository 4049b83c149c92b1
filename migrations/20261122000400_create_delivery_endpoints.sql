-- Who is told what, and how the breaker stands: closed where `opens_at` is null, open until then, and then
-- good for one trial. Addresses and secrets stay in the configuration.
create table delivery_endpoints (
    endpoint  text    not null,
    kinds     text[]  not null,
    is_active boolean not null,
    failures  bigint  not null default 0,
    opens_at  timestamptz,
    constraint delivery_endpoints_pk primary key (endpoint)
);
