
-- lib/seats: holds and the seats that they take. Needs the names concert state taken users free holds holders
-- deadlines. `state`: seat → `h:reservation` held, `s:reservation` sold; absent: free.
local function read_hold(reservation)
    local record = redis.call('HGET', holds, reservation)
    if not record then return nil end
    local user, show, seats, amount, ends = string.match(record, '^([^|]+)|([^|]+)|([^|]+)|(%d+)|(%d+)$')
    local _, count = string.gsub(seats, '%d+', '')
    return {reservation = reservation, user = user, show = show, seats = seats, count = count,
        amount = amount, deadline = tonumber(ends)}
end
local function lower(key, field, by)
    if redis.call('HINCRBY', key, field, -by) <= 0 then redis.call('HDEL', key, field) end
end
-- The hold is over, whatever becomes of its seats.
local function end_hold(hold)
    redis.call('HDEL', holds, hold.reservation)
    redis.call('ZREM', deadlines, table.concat({concert, hold.show, hold.reservation}, '|'))
    lower(holders, hold.user, 1)
end
local function free_seats(hold)
    for seat in string.gmatch(hold.seats, '%d+') do
        redis.call('HDEL', state, seat)
        redis.call('SETBIT', taken, seat, 0)
    end
    redis.call('HINCRBY', free, hold.show, hold.count)
    lower(users, hold.user, hold.count)
    end_hold(hold)
end
