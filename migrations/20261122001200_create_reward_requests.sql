-- Who asked for which reward in which event; a user once a period (the day of a daily event, else nothing).
-- PENDING waits for an operator, GRANTING for the shard that grants it.
create table reward_requests (
    request_id    uuid        not null,
    reward_id     uuid        not null,
    event_id      uuid        not null,
    user_id       uuid        not null,
    shard         integer     not null,
    event_version bigint      not null,
    period        text        not null,
    state         text        not null,
    type          text        not null,
    amount        bigint,
    campaign_id   uuid,
    reason        text,
    evidence      jsonb       not null,
    created_at    timestamptz not null,
    decided_at    timestamptz,
    recorded_at   timestamptz not null default clock_timestamp(),
    is_adopted    boolean     not null default false,
    constraint reward_requests_pk primary key (request_id),
    constraint reward_requests_once unique (reward_id, user_id, event_id, period),
    constraint reward_requests_state_known check (state in ('PENDING', 'GRANTING', 'GRANTED', 'REJECTED')),
    constraint reward_requests_rejected_why check ((state = 'REJECTED') = (reason is not null))
);

create index reward_requests_by_shard on reward_requests (shard, request_id);
create index reward_requests_by_user on reward_requests (user_id, request_id);
create index reward_requests_by_event on reward_requests (event_id, request_id);
create index reward_requests_counted on reward_requests (event_id, state, created_at);
create index reward_requests_open on reward_requests (request_id) where state in ('PENDING', 'GRANTING');
create index reward_requests_open_by_event on reward_requests (event_id, request_id)
    where state in ('PENDING', 'GRANTING');
create index reward_requests_granting on reward_requests (shard, request_id) where state = 'GRANTING';

-- What the shard that grants said, once, for ever: MADE, or REFUSED and why.
create table reward_grants (
    request_id  uuid        not null,
    shard       integer     not null,
    user_id     uuid        not null,
    outcome     text        not null,
    reason      text,
    campaign_id uuid,
    number      bigint,
    at          timestamptz not null,
    is_adopted  boolean     not null default false,
    constraint reward_grants_pk primary key (request_id),
    constraint reward_grants_outcome_known check (outcome in ('MADE', 'REFUSED')),
    constraint reward_grants_refused_why check ((outcome = 'REFUSED') = (reason is not null))
);

create index reward_grants_by_shard on reward_grants (shard);

-- A request's points are in one row: how it is found, and the last wall against giving them twice.
create unique index ledger_rewards_once on ledger (reference) where type = 'REWARD';
