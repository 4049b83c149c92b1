create table queues (
    queue_id       uuid        not null,
    shard          integer     not null,
    name           text        not null,
    state          text        not null,
    rate_tenths    bigint      not null,
    max_active     bigint      not null,
    active_seconds bigint      not null,
    max_waiting    bigint,
    number         bigint      not null default 0,
    closed_below   bigint      not null default 0,
    created_at     timestamptz not null,
    constraint queues_pk primary key (queue_id),
    constraint queues_state_known check (state in ('OPEN', 'PAUSED', 'CLOSED'))
);

create index queues_by_shard on queues (shard);

-- Places that live: who waits and who is in. A place that has ended has no row.
create table queue_places (
    queue_id    uuid   not null,
    number      bigint not null,
    user_id     uuid   not null,
    deadline_ms bigint,
    constraint queue_places_pk primary key (queue_id, number)
);

-- Numbers that may have been given out and lost with Redis in `epoch`: (low, high]. Their tickets are put
-- back when they poll. Kept as long as the queue: a ticket that is put back is signed again and may be lost
-- again.
create table queue_gaps (
    queue_id   uuid        not null,
    low        bigint      not null,
    high       bigint      not null,
    epoch      bigint      not null,
    created_at timestamptz not null default now(),
    constraint queue_gaps_pk primary key (queue_id, low)
);

-- In which epoch a user's place ended last, in queues that have a gap: his lost tickets of earlier epochs are
-- over.
create table queue_ends (
    queue_id uuid   not null,
    user_id  uuid   not null,
    epoch    bigint not null,
    constraint queue_ends_pk primary key (queue_id, user_id)
);
