#!lua
-- shard/begin: opens a new epoch for loading; the old epoch's keys are dead from here on.
-- KEYS meta
-- ARGV epoch deployment
-- RETURNS ok | stale_epoch(epoch) | foreign(deployment)
-- EVENT none
-- COST O(1)
local known = redis.call('HMGET', meta, 'epoch', 'state', 'chunk', 'deployment')
-- Whose data these are decides nobody but an operator.
if known[4] and known[4] ~= deployment then return {'foreign', known[4]} end
local current = tonumber(known[1] or 0)
local again = known[1] == epoch and known[2] == 'loading' and known[3] == '0'
if current >= tonumber(epoch) and not again then return {'stale_epoch', known[1]} end
redis.call('DEL', meta)
redis.call('HSET', meta, 'deployment', deployment, 'epoch', epoch, 'state', 'loading', 'chunk', '0')
return {'ok'}
