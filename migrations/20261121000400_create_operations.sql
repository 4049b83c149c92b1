-- Every effect, once. A second row for the same step is an alarm, never skipped.
create table operations (
    op          uuid        not null,
    step        smallint    not null,
    user_id     uuid,
    operation   text,
    key         text,
    target      text,
    fingerprint text,
    shard       integer     not null,
    epoch       bigint      not null,
    seq         bigint      not null,
    at          timestamptz not null,
    constraint operations_pk primary key (op, step)
);

create index operations_by_key on operations (user_id, operation, key) where key is not null;
create index operations_by_age on operations (at);
