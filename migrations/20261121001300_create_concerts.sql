create table concerts (
    concert_id     uuid        not null,
    shard          integer     not null,
    title          text        not null,
    seats_per_user bigint      not null,
    hold_seconds   bigint      not null,
    created_at     timestamptz not null,
    constraint concerts_pk primary key (concert_id)
);

create index concerts_by_shard on concerts (shard);

create table shows (
    show_id    uuid        not null,
    concert_id uuid        not null,
    shard      integer     not null,
    date       date        not null,
    price      bigint      not null,
    seats      bigint      not null,
    opens_at   timestamptz,
    closes_at  timestamptz,
    created_at timestamptz not null,
    constraint shows_pk primary key (show_id),
    constraint shows_date_once unique (concert_id, date)
);

create index shows_by_shard on shows (shard);
