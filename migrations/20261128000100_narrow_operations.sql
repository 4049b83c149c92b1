-- Who asked for what with which key stands in the entry. Here it is found by a number: the first eight bytes
-- of the SHA-256 of user, operation and key, a line each. Age follows the order of rows, so a range index is
-- enough.
drop index operations_by_key;
drop index operations_by_age;
alter table operations add column scope bigint;
update operations
set scope = ('x' || encode(substring(sha256(convert_to(concat_ws(E'\n', user_id, operation, key), 'UTF8'))
                                     from 1 for 8), 'hex'))::bit(64)::bigint
where key is not null;
alter table operations
    drop column user_id,
    drop column operation,
    drop column key,
    drop column target,
    drop column fingerprint;
create index operations_by_scope on operations (scope) where scope is not null;
create index operations_by_age on operations using brin (at) with (autosummarize = on);
