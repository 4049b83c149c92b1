
-- lib/line: who waits, by number from `line_from` on: a bit in `line`, so that an instance can hold the whole
-- line in its memory, and a byte in `presence`: 128 + the two seconds in which he was seen last, modulo 128.
-- Needs the names room line presence waiting, and lib/shard. A script sets `line_from` to the room's field
-- before it marks; a room without keeps no line.
local line_from
local function index(number)
    local at = line_from and tonumber(number) - line_from
    return at and at >= 0 and at < 536870912 and int(at) or nil
end
local function time_mark(ms) return 128 + math.floor(ms / 2000) % 128 end
-- `count` neighbours, all of whom are new.
local function enter_line(number, count)
    local at = index(number)
    if not at then return end
    for from = 0, count - 1, 32 do
        local bits = math.min(32, count - from)
        redis.call('BITFIELD', line, 'SET', 'u' .. bits, int(at + from), int(2 ^ bits - 1))
    end
    redis.call('SETRANGE', presence, at, string.rep(string.char(time_mark(now)), count))
end
local function leave_line(number)
    local at = index(number)
    if not at then return end
    redis.call('SETBIT', line, at, 0)
    redis.call('SETRANGE', presence, at, '\0')
end
