-- A row an endpoint and aggregate with PENDING messages, which go out one after the other: `pending` of them,
-- not before `next_at`. Who works on a lane has claimed it, and moved `next_at` behind the end of his claim.
create table delivery_lanes (
    endpoint  text        not null,
    aggregate uuid        not null,
    pending   bigint      not null,
    next_at   timestamptz not null default now(),
    oldest_at timestamptz not null,
    claim     uuid,
    constraint delivery_lanes_pk primary key (endpoint, aggregate)
) with (fillfactor = 50);

create index delivery_lanes_due on delivery_lanes (endpoint, next_at);
