#!lua
-- shard/advance: accepts that much time has passed, because Postgres' clock says so too.
-- KEYS meta
-- ARGV epoch now
-- RETURNS ok | stale_epoch
-- EVENT none
-- COST O(1)
local known = redis.call('HMGET', meta, 'epoch', 'state', 'seen')
if known[1] ~= epoch or known[2] ~= 'live' then return {'stale_epoch'} end
if tonumber(now) > tonumber(known[3]) then redis.call('HSET', meta, 'seen', now) end
return {'ok'}
