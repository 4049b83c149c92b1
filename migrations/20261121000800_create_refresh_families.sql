-- One row a sign-in. Its refresh tokens are numbered; only the newest is good, the one before it for ten
-- seconds.
create table refresh_families (
    family_id  uuid        not null,
    user_id    uuid        not null,
    generation integer     not null,
    rotated_at timestamptz not null,
    expires_at timestamptz not null,
    ended_at   timestamptz,
    constraint refresh_families_pk primary key (family_id),
    constraint refresh_families_user_fk foreign key (user_id) references users (user_id)
);

create index refresh_families_by_expiry on refresh_families (expires_at);
