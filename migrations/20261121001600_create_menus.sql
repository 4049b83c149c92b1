create table menus (
    menu_id    uuid        not null,
    name       text        not null,
    price      bigint      not null,
    created_at timestamptz not null default now(),
    constraint menus_pk primary key (menu_id),
    constraint menus_price_in_range check (price between 0 and 9007199254740991)
);
