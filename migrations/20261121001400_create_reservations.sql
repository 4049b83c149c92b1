create table reservations (
    reservation_id uuid        not null,
    concert_id     uuid        not null,
    show_id        uuid        not null,
    shard          integer     not null,
    user_id        uuid        not null,
    date           date        not null,
    seats          integer[]   not null,
    amount         bigint      not null,
    status         text        not null,
    expires_at     timestamptz not null,
    created_at     timestamptz not null,
    constraint reservations_pk primary key (reservation_id),
    constraint reservations_status_known check (status in ('RESERVED', 'CONFIRMED', 'CANCELLED', 'EXPIRED'))
);

create index reservations_by_user on reservations (user_id, reservation_id desc);
create index reservations_held on reservations (shard) where status = 'RESERVED';

-- The last wall: one sale a seat.
create table sold_seats (
    show_id        uuid    not null,
    seat           integer not null,
    shard          integer not null,
    reservation_id uuid    not null,
    user_id        uuid    not null,
    constraint sold_seats_once primary key (show_id, seat)
);

create index sold_seats_by_shard on sold_seats (shard);
