-- Orders that were paid. `items` are told as they were then: menuId, name, quantity, unitPrice, totalPrice.
create table orders (
    order_id      uuid        not null,
    user_id       uuid        not null,
    shard         integer     not null,
    items         jsonb       not null,
    total         bigint      not null,
    balance_after bigint      not null,
    created_at    timestamptz not null,
    is_adopted    boolean     not null,
    constraint orders_pk primary key (order_id),
    constraint orders_total_in_range check (total between 0 and 9007199254740991)
);

create index orders_by_user on orders (user_id, order_id desc);
create index orders_by_shard on orders (shard, created_at);
