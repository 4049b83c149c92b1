
-- lib/line: who waits, by number from `line_from` on: a bit in `line`, so that an instance can hold the whole
-- line in its memory, and a byte in `presence`: 128 + the two seconds in which he was seen last, modulo 128.
-- Needs the names room line presence waiting, and lib/shard. A script sets `line_from` to the room's field
-- before it marks; a room without keeps no line.
local line_from
local function index(number)
    local at = line_from and tonumber(number) - line_from
    return at and at >= 0 and at < 268435456 and at or nil
end
local function time_mark(ms) return 128 + math.floor(ms / 2000) % 128 end
-- `count` neighbours from `first` on begin to wait, or do not any more.
local function mark_line(first, count, waits)
    local at = index(first)
    if not at then return end
    for from = 0, count - 1, 32 do
        local bits = math.min(32, count - from)
        redis.call('BITFIELD', line, 'SET', 'u' .. bits, at + from, waits and int(2 ^ bits - 1) or '0')
    end
    redis.call('SETRANGE', presence, at, string.rep(waits and string.char(time_mark(now)) or '\0', count))
end
local function enter_line(first, count) mark_line(first, count, true) end
-- Neighbours go in one call.
local function leave_line(numbers)
    local first, count = nil, 0
    for _, number in ipairs(numbers) do
        if first and tonumber(number) == first + count then count = count + 1
        else
            if first then mark_line(first, count, false) end
            first, count = tonumber(number), 1
        end
    end
    if first then mark_line(first, count, false) end
end
