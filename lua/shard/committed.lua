#!lua
-- shard/committed: Postgres has all up to `seq`. Keeps `keep_ms` of the journal for one that went back.
-- KEYS meta journal marks
-- ARGV epoch seq keep_ms
-- RETURNS ok(since when the oldest entry waits that Postgres lacks, or nothing) | stale_epoch
-- EVENT none
-- COST O(log N), and O(trimmed) once a minute
local known = redis.call('HMGET', meta, 'epoch', 'state', 'committed', 'pending_since', 'seen')
if known[1] ~= epoch or known[2] ~= 'live' then return {'stale_epoch'} end
if tonumber(seq) < tonumber(known[3]) then return {'ok', known[4] or ''} end
redis.call('HSET', meta, 'committed', seq)
local since = ''
local waiting = redis.call('XRANGE', journal, '(' .. epoch .. '-' .. seq, '+', 'COUNT', 1)
if waiting[1] then
    local fields = waiting[1][2]
    for i = 1, #fields, 2 do
        if fields[i] == 'at' then since = fields[i + 1] end
    end
    redis.call('HSET', meta, 'pending_since', since)
else
    redis.call('HDEL', meta, 'pending_since')
end
-- `marks`: once a minute, how far Postgres was when; what is behind the oldest mark can go when its time is
-- over.
local seen = tonumber(known[5])
local newest = redis.call('LINDEX', marks, -1)
if not newest or seen - tonumber(string.match(newest, '%d+$')) > 60000 then
    redis.call('RPUSH', marks, seq .. '|' .. known[5])
end
local oldest = redis.call('LINDEX', marks, 0)
if oldest and seen - tonumber(string.match(oldest, '%d+$')) > tonumber(keep_ms) then
    redis.call('XTRIM', journal, 'MINID', epoch .. '-' .. string.match(oldest, '^%d+'))
    redis.call('LPOP', marks)
end
return {'ok', since}
