#!lua
-- shard/forget: drops records of operations that are old and durable, oldest first.
-- USES shard
-- KEYS ops order
-- ARGV keep_ms limit
-- RETURNS done(forgotten)
-- EVENT none
-- COST O(limit)
local committed = tonumber(redis.call('HGET', meta, 'committed'))
local forgotten = 0
while forgotten < tonumber(limit) do
    local oldest = redis.call('LINDEX', order, 0)
    if not oldest then break end
    local record = redis.call('HGET', ops, oldest)
    local seq, at = string.match(record or '0|0|0|0', '^%d+|(%d+)|%x+|(%d+)')
    if tonumber(seq) > committed or now - tonumber(at) < tonumber(keep_ms) then break end
    redis.call('HDEL', ops, oldest)
    redis.call('LPOP', order)
    forgotten = forgotten + 1
end
return {'done', forgotten}
