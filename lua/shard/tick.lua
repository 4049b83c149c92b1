#!lua
-- shard/tick: how the shard stands, for the keeper; moves the last seen time on: an idle hour is no jump.
-- KEYS meta journal
-- ARGV epoch clock cursor
-- RETURNS state(the fields of `Standing`, in its order)
-- EVENT none
-- COST O(log N)
local known = redis.call('HMGET', meta, 'epoch', 'state', 'head', 'last', 'committed', 'deployment', 'seen',
    'pending_since')
local now, seen = tonumber(clock), tonumber(known[7] or 0)
if not now then
    local time = redis.call('TIME')
    now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local jumped = '0'
if known[1] == epoch and known[2] == 'live' then
    if now - seen > 60000 then jumped = '1'
    elseif now > seen then redis.call('HSET', meta, 'seen', string.format('%.0f', now)) end
end
local function hash_of(items)
    if not items[1] then return '' end
    local fields = items[1][2]
    return fields[#fields]
end
local last_entry = redis.call('XREVRANGE', journal, '+', '-', 'COUNT', 1)
local cursor_entry = redis.call('XRANGE', journal, epoch .. '-' .. cursor, epoch .. '-' .. cursor)
local first = redis.call('XRANGE', journal, '-', '+', 'COUNT', 1)
local oldest = first[1] and first[1][1] or ''
return {'state', known[1] or '', known[2] or '', known[3] or '', known[4] or '', known[5] or '',
    known[6] or '', hash_of(last_entry), hash_of(cursor_entry), oldest, string.format('%.0f', now),
    string.format('%.0f', seen), jumped, known[8] or ''}
