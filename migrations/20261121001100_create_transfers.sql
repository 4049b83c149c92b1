-- Points set aside for a payment, in the user's shard. PENDING until the decision is known.
create table transfers (
    op             uuid        not null,
    payment_id     uuid        not null,
    user_id        uuid        not null,
    shard          integer     not null,
    reservation_id uuid        not null,
    concert_id     uuid        not null,
    amount         bigint      not null,
    balance_after  bigint      not null,
    state          text        not null,
    issued_at      timestamptz not null,
    recorded_at    timestamptz not null default now(),
    constraint transfers_pk primary key (op),
    constraint transfers_state_known check (state in ('PENDING', 'POSTED', 'VOIDED'))
);

create index transfers_pending on transfers (recorded_at) where state = 'PENDING';
create index transfers_by_shard on transfers (shard) where state = 'PENDING';

-- What the seats' shard decided about a transfer: C (confirmed) or A (aborted), once. Kept until closed and a
-- day.
create table decisions (
    op             uuid        not null,
    shard          integer     not null,
    concert_id     uuid        not null,
    decision       text        not null,
    epoch          bigint      not null,
    seq            bigint      not null,
    h              text        not null,
    facts          text        not null,
    fingerprint    text        not null default '',
    at             timestamptz not null,
    closed_at      timestamptz,
    constraint decisions_pk primary key (op),
    constraint decisions_known check (decision in ('C', 'A'))
);

create index decisions_by_shard on decisions (shard);
create index decisions_closed on decisions (closed_at) where closed_at is not null;
