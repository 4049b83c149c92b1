#!lua
-- shard/forget: drops what operations came to long ago: all of `past`, once it is old and durable; `ops`
-- becomes `past` then. So a record is kept for once to twice as long.
-- USES shard
-- KEYS ops past
-- ARGV keep_ms
-- RETURNS done | idle
-- EVENT none
-- COST O(1)
local known = redis.call('HMGET', meta, 'committed', 'last', 'turned_at', 'turned_seq')
local turned_at, turned_seq = tonumber(known[3]) or 0, tonumber(known[4]) or 0
-- What is in `past` was recorded before the last turn, up to `turned_seq`.
if now - turned_at < tonumber(keep_ms) or tonumber(known[1]) < turned_seq then return {'idle'} end
redis.call('UNLINK', past)
if redis.call('EXISTS', ops) == 1 then redis.call('RENAME', ops, past) end
redis.call('HSET', meta, 'turned_at', int(now), 'turned_seq', known[2])
return {'done'}
