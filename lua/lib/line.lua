
-- lib/line: who waits, by number from `line_from` on, a bit each in `line`, so that an instance can hold the
-- whole line in its memory; and who was seen, likewise, in a ring of `seen`, one for each eight seconds.
-- Needs the names room line seen, and lib/shard; `see` the name scratch. A script sets `line_from`, a
-- multiple of eight, to the room's field before it marks; a room without keeps no line.
local line_from
local function index(number)
    local at = line_from and tonumber(number) - line_from
    return at and at >= 0 and at < 268435456 and at or nil
end
-- The part of the ring for these eight seconds; those that come round are forgotten. Silence cannot be told
-- before the ring has begun.
local function seen_now()
    local parts, window = #KEYS - seen_from + 1, math.floor(now / 8000)
    local last = tonumber(redis.call('HGET', room, 'seen_in'))
    if not last then redis.call('HSET', room, 'served_since', int(now)) end
    for turn = math.max(last or 0, window - parts) + 1, window do
        redis.call('DEL', KEYS[seen_from + turn % parts])
    end
    if window > (last or 0) then redis.call('HSET', room, 'seen_in', int(window)) end
    return KEYS[seen_from + window % parts]
end
-- Sets the bits of `count` neighbours.
local function put_bits(key, at, count, set)
    for from = 0, count - 1, 32 do
        local bits = math.min(32, count - from)
        redis.call('BITFIELD', key, 'SET', 'u' .. bits, at + from, set and int(2 ^ bits - 1) or '0')
    end
end
-- `count` neighbours from `first` on begin to wait, and are there.
local function enter_line(first, count)
    local at = index(first)
    if not at then return end
    put_bits(line, at, count, true)
    put_bits(seen_now(), at, count, true)
end
-- These do not wait any more. Neighbours go in one call.
local function leave_line(numbers)
    local first, count = nil, 0
    local function leave()
        local at = first and index(first)
        if at then put_bits(line, at, count, false) end
    end
    for _, number in ipairs(numbers) do
        if first and tonumber(number) == first + count then count = count + 1
        else
            leave()
            first, count = tonumber(number), 1
        end
    end
    leave()
end
-- The bits from the number `from` on, a multiple of eight, are of those who are there. What lies before the
-- line, or after it, is nobody's.
local function see(from, bits)
    if not line_from then return end
    local at = (tonumber(from) - line_from) / 8
    bits = string.sub(bits, math.max(0, -at) + 1, redis.call('STRLEN', line) - at)
    if bits == '' then return end
    local key = seen_now()
    if redis.call('EXISTS', key) == 0 then
        redis.call('SETRANGE', key, math.max(0, at), bits)
    else
        redis.call('SETRANGE', scratch, math.max(0, at), bits)
        redis.call('BITOP', 'OR', key, key, scratch)
        redis.call('DEL', scratch)
    end
end
