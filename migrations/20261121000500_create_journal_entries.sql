-- The journal itself, by day; whole days are dropped after a week. The default partition takes what has no
-- day yet.
create table journal_entries (
    shard  integer     not null,
    epoch  bigint      not null,
    seq    bigint      not null,
    op     uuid        not null,
    step   smallint    not null,
    origin uuid        not null,
    kind   text        not null,
    at     timestamptz not null,
    facts  text        not null,
    p      text        not null,
    h      text        not null,
    constraint journal_entries_pk primary key (at, shard, epoch, seq)
) partition by range (at);

create table journal_entries_default partition of journal_entries default;

-- An entry that Postgres refused: its shard was fenced and rebuilt without it, and nobody was told yes.
create table quarantine (
    shard       integer     not null,
    epoch       bigint      not null,
    seq         bigint      not null,
    op          uuid        not null,
    kind        text        not null,
    facts       text        not null,
    error       text        not null,
    recorded_at timestamptz not null default now(),
    constraint quarantine_pk primary key (shard, epoch, seq)
);
