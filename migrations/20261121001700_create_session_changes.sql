-- What changed about sessions that have tokens out: a sign-in that ended, or a role that is another.
-- Instances read what is young; access tokens that are older than the longest have ended by themselves.
create table session_changes (
    change_id uuid        not null default gen_random_uuid(),
    family_id uuid,
    user_id   uuid,
    role      text,
    at        timestamptz not null default clock_timestamp(),
    constraint session_changes_pk primary key (change_id),
    constraint session_changes_one_kind check (
        (family_id is null) = (user_id is not null and role is not null)
    )
);

create index session_changes_by_time on session_changes (at);
