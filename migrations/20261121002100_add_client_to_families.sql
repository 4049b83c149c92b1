-- From where a sign-in came, as a hash: whoever signed in from there before is not kept waiting because
-- others fail on his account or at his address.
alter table refresh_families add column client uuid;

create index refresh_families_by_user on refresh_families (user_id, client);
