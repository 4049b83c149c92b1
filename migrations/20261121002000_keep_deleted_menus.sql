-- A menu that is taken off stays readable for what names it; `changed_at` says what is news.
alter table menus
    add column changed_at timestamptz not null default now(),
    add column deleted_at timestamptz;
