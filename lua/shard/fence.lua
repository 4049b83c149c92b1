#!lua
-- shard/fence: nothing may be read or written until the shard is rebuilt. Best effort: Postgres fences.
-- KEYS meta
-- ARGV epoch
-- RETURNS ok | stale_epoch
-- EVENT none
-- COST O(1)
if redis.call('HGET', meta, 'epoch') ~= epoch then return {'stale_epoch'} end
redis.call('HSET', meta, 'state', 'fenced')
return {'ok'}
