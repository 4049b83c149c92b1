#!lua
-- queue/join: takes a place, or finds the one that the user has. Soft: the tick journals it.
-- USES shard line
-- KEYS room waiting line presence passes active buffer busy
-- ARGV queue user gate
-- RETURNS joined(number position) | found(number position) | active(number ends)
-- RETURNS queue_not_found | queue_closed | queue_full | busy
-- EVENT none
-- COST O(log waiting)
local known = redis.call('HMGET', room, 'state', 'max_waiting', 'closed_below', 'pace', 'rate', 'line_from')
if not known[1] then return {'queue_not_found'} end
line_from = tonumber(known[6])
local pass = redis.call('HGET', passes, user)
local ends = pass and tonumber(redis.call('ZSCORE', active, user) or 0) or 0
if ends > now then return {'active', pass, int(ends), known[4], known[5]} end
local place = redis.call('ZSCORE', waiting, user)
local open = '(' .. known[3]
if place and tonumber(place) > tonumber(known[3]) then
    return {'found', place, redis.call('ZCOUNT', waiting, open, place), known[4], known[5]}
end
if known[1] == 'CLOSED' then return {'queue_closed'} end
if behind > tonumber(gate) then return {'busy'} end
if known[2] ~= '' and redis.call('ZCOUNT', waiting, open, '+inf') >= tonumber(known[2]) then
    return {'queue_full'}
end
local number = int(redis.call('HINCRBY', room, 'number', 1))
-- A place that closing has ended, and that no tick has swept yet.
if place then
    redis.call('RPUSH', buffer, 'l|' .. place)
    leave_line(place)
end
redis.call('ZADD', waiting, number, user)
enter_line(number)
-- A queue whose buffer holds something is busy.
if redis.call('RPUSH', buffer, 'j|' .. number .. '|' .. user) == 1 then redis.call('SADD', busy, queue) end
return {'joined', number, redis.call('ZCOUNT', waiting, open, number), known[4], known[5]}
