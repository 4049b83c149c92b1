
-- lib/line: who waits, a bit a number from `line_from` on, so that an instance can hold the whole line in its
-- memory. Needs the names room line waiting, and lib/shard. A room without `line_from` keeps no line.
local line_from = tonumber(redis.call('HGET', room, 'line_from'))
local function mark_line(number, bit)
    local at = line_from and tonumber(number) - line_from
    if at and at >= 0 and at < 4294967296 then redis.call('SETBIT', line, int(at), bit) end
end
-- Lets go of the bits before the first who waits, or will, a million at a time; not where somebody whose
-- place was lost with Redis may come back before him.
local function shorten_line(gaps)
    local first = tonumber(redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')[2])
        or tonumber(redis.call('HGET', room, 'number')) + 1
    if not line_from or gaps ~= '' or first - line_from < 1048576 then return end
    local bytes = math.floor((first - line_from) / 8)
    redis.call('SET', line, redis.call('GETRANGE', line, bytes, -1))
    redis.call('HSET', room, 'line_from', int(line_from + bytes * 8))
end
