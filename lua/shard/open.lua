#!lua
-- shard/open: ends a rebuild: writes the epoch's marker, entry 0, and lets the shard live.
-- KEYS meta journal
-- ARGV epoch chunk origin op hash root clock
-- RETURNS ok(now) | stale_epoch(epoch) | out_of_order(chunk)
-- EVENT none
-- COST O(1)
local known = redis.call('HMGET', meta, 'epoch', 'state', 'chunk', 'seen')
if known[1] == epoch and known[2] == 'live' then return {'ok', known[4]} end
if known[1] ~= epoch or known[2] ~= 'loading' then return {'stale_epoch', known[1] or ''} end
if known[3] ~= chunk then return {'out_of_order', known[3]} end
local now = tonumber(clock)
if not now then
    local time = redis.call('TIME')
    now = time[1] * 1000 + math.floor(time[2] / 1000)
end
now = string.format('%.0f', now)
redis.call('XADD', journal, epoch .. '-0', 'op', op, 'st', '0', 'o', origin, 'k', kind, 'at', '0', 'f', '',
    'p', root, 'h', hash)
redis.call('HSET', meta, 'seen', now, 'last', '0', 'committed', '0', 'head', hash, 'turned_at', now,
    'turned_seq', '0', 'state', 'live')
return {'ok', now}
