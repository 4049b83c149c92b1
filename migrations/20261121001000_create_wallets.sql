-- What a user has. The writer adds the sum of a batch's changes; the constraint is the last wall.
create table balances (
    user_id uuid    not null,
    shard   integer not null,
    balance bigint  not null,
    constraint balances_pk primary key (user_id),
    constraint balances_in_range check (balance between 0 and 9007199254740991)
);

create index balances_by_shard on balances (shard);

-- Every change of a balance. (epoch, seq) is the order of the user's shard.
create table ledger (
    transaction_id uuid        not null,
    user_id        uuid        not null,
    type           text        not null,
    amount         bigint      not null,
    balance_after  bigint      not null,
    reference      uuid,
    epoch          bigint      not null,
    seq            bigint      not null,
    created_at     timestamptz not null,
    constraint ledger_pk primary key (transaction_id),
    constraint ledger_type_known check (type in ('CHARGE', 'ORDER', 'PAYMENT', 'REFUND', 'REWARD'))
);

create index ledger_by_user on ledger (user_id, epoch desc, seq desc);
