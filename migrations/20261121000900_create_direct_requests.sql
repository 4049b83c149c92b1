-- Writes that Postgres decides (no script): what a request with a key came to, written in its own
-- transaction.
create table direct_requests (
    op          uuid        not null,
    fingerprint text        not null,
    status      smallint    not null,
    body        jsonb       not null,
    at          timestamptz not null default now(),
    constraint direct_requests_pk primary key (op)
);

create index direct_requests_by_age on direct_requests (at);
