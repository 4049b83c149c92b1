
-- lib/silence: what a tick does about who is gone. Needs the names active fresh passes ended silent, and
-- lib/line.
-- Who waits and was not seen while the ring went round, at most `most` of them. `silent` holds who that is,
-- as bits, made once for each part of the ring; `made_in` is for which.
local function find_silent(made_in, most)
    local seen, users = seen_now(), {}
    local window, parts, bytes = math.floor(now / 8000), {}, redis.call('STRLEN', line)
    if made_in ~= window and line_from and bytes > 0 then
        -- Strings of one length are the ones that BITOP is quick about, and up to sixteen of them.
        for i = seen_from, #KEYS do
            local length = redis.call('STRLEN', KEYS[i])
            if length > 0 then parts[#parts + 1] = KEYS[i] end
            if length > 0 and length < bytes then redis.call('SETBIT', KEYS[i], bytes * 8 - 1, '0') end
        end
        redis.call('DEL', silent)
        for i = 1, #parts, 12 do
            local some = {unpack(parts, i, math.min(i + 11, #parts))}
            if i > 1 then some[#some + 1] = silent end
            redis.call('BITOP', 'OR', silent, unpack(some))
        end
        redis.call('BITOP', 'AND', silent, line, silent)
        redis.call('BITOP', 'XOR', silent, line, silent)
    end
    local from = 0
    while #users < most do
        local at = redis.call('BITPOS', silent, '1', from)
        if at < 0 then
            redis.call('DEL', silent)
            break
        end
        from = math.floor(at / 8)
        redis.call('SETBIT', silent, at, '0')
        local number = int(line_from + at)
        local user = redis.call('ZRANGEBYSCORE', waiting, number, number)[1]
        -- Who was seen meanwhile stays; a bit without a place goes.
        if not user then leave_line({number})
        elseif redis.call('GETBIT', seen, at) == 0 then users[#users + 1] = user end
    end
    return users, window
end
-- Lets go of what lies before the first who waits, or will, a million numbers at a time; not where somebody
-- whose place was lost with Redis may come back before him.
local function shorten_line(gaps)
    local first = tonumber(redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')[2])
        or tonumber(redis.call('HGET', room, 'number')) + 1
    if not line_from or gaps ~= '' or first - line_from < 1048576 then return end
    local bytes = math.floor((first - line_from) / 8)
    local function shorten(key)
        if redis.call('EXISTS', key) == 0 then return end
        redis.call('SET', key, redis.call('GETRANGE', key, bytes, -1))
    end
    shorten(line)
    shorten(silent)
    for i = seen_from, #KEYS do shorten(KEYS[i]) end
    redis.call('HSET', room, 'line_from', int(line_from + bytes * 8))
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
