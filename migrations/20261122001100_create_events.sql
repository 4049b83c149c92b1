-- Events: when which rewards are to be had, under which condition. Postgres alone decides about them.
create table events (
    event_id   uuid        not null,
    version    bigint      not null default 1,
    name       text        not null,
    starts_at  timestamptz not null,
    ends_at    timestamptz not null,
    active     boolean     not null,
    reward_ids uuid[]      not null,
    condition  jsonb       not null,
    approval   text        not null,
    recurrence text        not null,
    created_at timestamptz not null default clock_timestamp(),
    deleted_at timestamptz,
    constraint events_pk primary key (event_id),
    constraint events_window check (starts_at < ends_at),
    constraint events_approval_known check (approval in ('AUTO', 'MANUAL')),
    constraint events_recurrence_known check (recurrence in ('ONCE', 'DAILY'))
);

create index events_that_run on events (ends_at) where active and deleted_at is null;
create index events_by_reward on events using gin (reward_ids) where active and deleted_at is null;

-- Days of the configured zone on which a user signed in, and when he last did.
create table login_days (
    user_id uuid        not null,
    day     date        not null,
    last_at timestamptz not null,
    constraint login_days_pk primary key (user_id, day)
);
