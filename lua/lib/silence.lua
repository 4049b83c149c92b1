
-- lib/silence: what a tick does about who is gone. Needs the names active fresh passes ended, and lib/line.
-- Who was seen last before `silent_ms` ago, at most `most` of them, among 32 768 numbers from place `swept`
-- of `presence` on; then the place to go on from, 0 when the end is reached. A line is looked through once in
-- two seconds at most, by as many calls as it takes; `swept_in` is when that began. Marks come round after
-- 256 s: whose silence is not found by then is found a round later.
local function sweep(swept, swept_in, silent_ms, most)
    local users, window = {}, math.floor(now / 2000)
    if swept == 0 then
        local first = redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')[2]
        local at = first and index(first)
        if swept_in == window or not at then return users, 0, swept_in end
        swept, swept_in = at, window
    end
    local bytes = redis.call('GETRANGE', presence, swept, swept + 32767)
    -- All but the marks that are old, which wrap around.
    local low, high = time_mark(now + 2000), time_mark(now - silent_ms - 2000)
    local old = low <= high and string.char(low, 45, high)
        or string.char(low, 45, 255) .. string.char(128, 45, high)
    local young, at = '^[^' .. old .. ']*()', 1
    while #users < most do
        at = string.match(bytes, young, at)
        if at > #bytes then break end
        local number = int(line_from + swept + at - 1)
        local user = redis.call('ZRANGEBYSCORE', waiting, number, number)[1]
        -- A mark that came after its place was gone.
        if user then users[#users + 1] = user else leave_line({number}) end
        at = at + 1
    end
    return users, at > #bytes and #bytes < 32768 and 0 or swept + at - 1, swept_in
end
-- Lets go of what lies before the first who waits, or will, a million numbers at a time; not where somebody
-- whose place was lost with Redis may come back before him. True when it did.
local function shorten_line(gaps)
    local first = tonumber(redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')[2])
        or tonumber(redis.call('HGET', room, 'number')) + 1
    if not line_from or gaps ~= '' or first - line_from < 1048576 then return false end
    local bytes = math.floor((first - line_from) / 8)
    redis.call('SET', line, redis.call('GETRANGE', line, bytes, -1))
    redis.call('SET', presence, redis.call('GETRANGE', presence, bytes * 8, -1))
    redis.call('HSET', room, 'line_from', int(line_from + bytes * 8))
    return true
end
-- Takes out whose place or pass is over: user -> why. The numbers of places are `vacated`.
local function clear(over, vacated, gaps)
    leave_line(vacated)
    local of_places, of_passes = {}, {}
    for user, why in pairs(over) do
        local of = (why == 'expired' or why == 'unused') and of_passes or of_places
        of[#of + 1] = user
        if gaps ~= '' then redis.call('HSET', ended, user, epoch) end
    end
    if #of_places > 0 then redis.call('ZREM', waiting, unpack(of_places)) end
    if #of_passes > 0 then
        redis.call('ZREM', active, unpack(of_passes))
        redis.call('ZREM', fresh, unpack(of_passes))
        redis.call('HDEL', passes, unpack(of_passes))
    end
end
