-- Who writes, sweeps and admits for a shard. It saves work; safety never rests on it.
create table shard_leases (
    shard      integer     not null,
    owner      uuid,
    expires_at timestamptz not null default '-infinity',
    constraint shard_leases_pk primary key (shard)
);

-- Who is alive, so that shards are shared out evenly.
create table instances (
    instance_id uuid        not null,
    seen_at     timestamptz not null,
    constraint instances_pk primary key (instance_id)
);
