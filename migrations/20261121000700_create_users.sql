create table users (
    user_id       uuid        not null,
    email         text        not null,
    password_hash text,
    name          text        not null,
    role          text        not null,
    created_at    timestamptz not null default now(),
    constraint users_pk primary key (user_id),
    constraint users_role_known check (role in ('USER', 'OPERATOR', 'AUDITOR', 'ADMIN'))
);

-- E-mail addresses compare without case.
create unique index users_email_once on users (lower(email));
