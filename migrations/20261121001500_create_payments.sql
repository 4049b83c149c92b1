create table payments (
    payment_id     uuid        not null,
    reservation_id uuid        not null,
    user_id        uuid        not null,
    amount         bigint      not null,
    balance_after  bigint      not null,
    paid_at        timestamptz not null,
    constraint payments_pk primary key (payment_id),
    constraint payments_once_a_reservation unique (reservation_id)
);

create index payments_by_user on payments (user_id, payment_id desc);
