-- All keys of a user stand together: the upper half of an operation's number is that of its user, the last
-- four bytes of his id; the lower half stays what it was, a part of the SHA-256. An instance of an older
-- version would go on writing numbers that are not found: it has to end first.
update operations o
set scope = (('x' || right(split_part(e.facts, '|', 2), 8))::bit(32)::int::bigint << 32)
    | (o.scope & 4294967295)
from journal_entries e
where e.at = o.at and e.shard = o.shard and e.epoch = o.epoch and e.seq = o.seq
    and o.scope is not null and e.facts like 'op.requested|%';
