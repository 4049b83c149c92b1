-- How often each menu was ordered in each hour (UTC): what the ranking is rebuilt from. Those of its orders
-- that a backup lacked are counted as unlisted.
create table popular_hours (
    shard             integer     not null,
    hour              timestamptz not null,
    menu_id           uuid        not null,
    orders            bigint      not null,
    quantity          bigint      not null,
    unlisted_orders   bigint      not null default 0,
    unlisted_quantity bigint      not null default 0,
    constraint popular_hours_pk primary key (shard, hour, menu_id),
    constraint popular_hours_counted check (orders > 0 and quantity >= orders)
) with (fillfactor = 70);
