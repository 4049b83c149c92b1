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
local from, last, marks, n = tonumber(known[1]), tonumber(known[2] or 0), {}, 0
local mark = time_mark(now)
for number in string.gmatch(from and numbers or '', '%d+') do
    local at = number - from
    if at >= 0 and at < 268435456 and number - last <= 0 then
        -- Lua writes numbers of up to fourteen digits without an exponent.
        marks[n + 1], marks[n + 2], marks[n + 3], marks[n + 4], n = 'SET', 'u8', '#' .. at, mark, n + 4
    end
end
if n > 0 then redis.call('BITFIELD', presence, unpack(marks)) end
local members = {}
for user in string.gmatch(users, '[^,]+') do members[#members + 1] = user end
if #members > 0 then redis.call('ZREM', fresh, unpack(members)) end
return {'done'}
