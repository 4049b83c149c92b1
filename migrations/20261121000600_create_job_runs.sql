-- Calendar jobs fire on every instance; whoever inserts the row does the work.
create table job_runs (
    job           text        not null,
    scheduled_for timestamptz not null,
    instance_id   uuid        not null,
    finished_at   timestamptz,
    constraint job_runs_pk primary key (job, scheduled_for)
);
