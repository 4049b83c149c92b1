#!lua
-- queue/seen: these numbers polled: they are still there; new passes of these users are in use.
-- USES shard line
-- KEYS room waiting line presence fresh
-- ARGV numbers users
-- RETURNS done
-- EVENT none
-- COST O(numbers, users log waiting)
-- One command for all of them: a call costs as much as what it does.
local known = redis.call('HMGET', room, 'line_from', 'number')
line_from = tonumber(known[1])
local last, mark, marks, n = tonumber(known[2] or 0), time_mark(now), {}, 0
for number in string.gmatch(numbers, '%d+') do
    local at = number - last <= 0 and index(number)
    if at then
        marks[n + 1], marks[n + 2], marks[n + 3], marks[n + 4], n = 'SET', 'u8', '#' .. at, mark, n + 4
    end
end
if n > 0 then redis.call('BITFIELD', presence, unpack(marks)) end
local members = {}
for user in string.gmatch(users, '[^,]+') do members[#members + 1] = user end
if #members > 0 then redis.call('ZREM', fresh, unpack(members)) end
return {'done'}
