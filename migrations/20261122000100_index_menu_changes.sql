-- Instances ask for what is news since they read last.
create index menus_by_change on menus (changed_at);
