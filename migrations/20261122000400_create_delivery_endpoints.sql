-- Who is told what, as the instance that started last was configured; and how the breaker stands. Addresses
-- and secrets stay in the configuration.
create table delivery_endpoints (
    endpoint  text    not null,
    kinds     text[]  not null,
    is_active boolean not null,
    failures  bigint  not null default 0,
    opens_at  timestamptz,
    constraint delivery_endpoints_pk primary key (endpoint)
);
