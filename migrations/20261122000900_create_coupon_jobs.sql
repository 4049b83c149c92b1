-- Coupons that are generated in the background. `first` is the first of their numbers, `done` how many are
-- there; a chunk of them and `done` are one transaction.
create table coupon_batches (
    batch_id    uuid        not null,
    ordinal     integer     not null,
    first       bigint      not null,
    count       bigint      not null,
    done        bigint      not null default 0,
    key_version smallint    not null,
    expires_at  timestamptz not null,
    state       text        not null default 'RUNNING',
    run         uuid,
    lease_until timestamptz not null default '-infinity',
    created_at  timestamptz not null default clock_timestamp(),
    constraint coupon_batches_pk primary key (batch_id),
    constraint coupon_batches_state_known check (state in ('RUNNING', 'DONE', 'FAILED')),
    constraint coupon_batches_done_in_range check (done between 0 and count)
);

create index coupon_batches_running on coupon_batches (created_at) where state = 'RUNNING';

-- Lists of coupons that are read. `digest` covers the first `rows_read` rows: who sends the list again goes
-- on after them, if they are the same.
create table coupon_imports (
    import_id   uuid        not null,
    ordinal     integer     not null,
    state       text        not null default 'RUNNING',
    rows_read   bigint      not null default 0,
    inserted    bigint      not null default 0,
    duplicate   bigint      not null default 0,
    invalid     bigint      not null default 0,
    digest      bytea       not null default '',
    run         uuid        not null,
    lease_until timestamptz not null,
    created_at  timestamptz not null default clock_timestamp(),
    constraint coupon_imports_pk primary key (import_id),
    constraint coupon_imports_state_known check (state in ('RUNNING', 'DONE', 'FAILED')),
    constraint coupon_imports_counted check (rows_read = inserted + duplicate + invalid)
);

-- The first rows of each that could not be read.
create table coupon_import_errors (
    import_id uuid   not null,
    line      bigint not null,
    reason    text   not null,
    constraint coupon_import_errors_pk primary key (import_id, line)
);

-- Days whose holders of coupons are told that these expire soon, and how far that is.
create table coupon_reminders (
    day         date        not null,
    after_at    timestamptz not null,
    after_code  text        collate "C" not null,
    told        bigint      not null default 0,
    is_done     boolean     not null default false,
    constraint coupon_reminders_pk primary key (day)
);
