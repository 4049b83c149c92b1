-- The outbox: a row a message and endpoint, written with what it tells of; `position` is their order.
create table deliveries (
    position     bigint      generated always as identity,
    endpoint     text        not null,
    message_id   uuid        not null,
    kind         text        not null,
    aggregate    uuid        not null,
    body         text        not null,
    at           timestamptz not null,
    state        text        not null default 'PENDING',
    attempts     integer     not null default 0,
    last_error   text,
    delivered_at timestamptz,
    constraint deliveries_pk primary key (message_id, endpoint),
    constraint deliveries_state_known check (state in ('PENDING', 'DELIVERED', 'DEAD'))
);

create index deliveries_in_order on deliveries (endpoint, aggregate, position) where state = 'PENDING';
create index deliveries_dead on deliveries (endpoint, position) where state = 'DEAD';
create index deliveries_by_time on deliveries using brin (at);
