-- One row: which deployment this database belongs to, and how many shards it was made with. A Redis that
-- carries another deployment's id is refused.
create table deployment (
    deployment_id uuid        not null,
    shards        integer     not null,
    created_at    timestamptz not null default now(),
    single        boolean     not null default true,
    constraint deployment_pk primary key (deployment_id),
    constraint deployment_is_single unique (single),
    constraint deployment_single_is_true check (single),
    constraint deployment_shards_range check (shards between 1 and 1024)
);
