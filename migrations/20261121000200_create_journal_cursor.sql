-- How far each shard's history has come. A writer's transaction begins by moving this row from what it read
-- to what it adds; whoever finds it moved has lost.
create table journal_cursor (
    shard      integer     not null,
    epoch      bigint      not null,
    seq        bigint      not null,
    h          text        not null,
    state      text        not null,
    reason     text        not null default '',
    redis_run  text        not null default '',
    changed_at timestamptz not null default now(),
    constraint journal_cursor_pk primary key (shard),
    constraint journal_cursor_state_known check (state in ('rebuilding', 'live', 'fenced')),
    constraint journal_cursor_seq_not_negative check (seq >= 0)
);
