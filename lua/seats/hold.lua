#!lua
-- seats/hold: holds seats for a user who is in, all or nothing. A lapsed hold in the way is taken over.
-- USES shard journal pass seats
-- KEYS room waiting passes active fresh ended
-- KEYS policy shows state taken users free holds holders deadlines
-- ARGV queue concert show date today user number reservation seats
-- RETURNS done | queue_not_admitted(position pace rate) | lost | queue_ticket_gone | queue_not_found
-- RETURNS show_not_found | show_not_open | seat_not_found | seat_taken | seat_limit
-- EVENT seats.lapsed seats.held queue.pass_extended
-- COST O(seats)
local standing, ends = stand(user, number)
if standing ~= 'active' then
    local pace = redis.call('HMGET', room, 'pace', 'rate')
    return {standing, ends and int(ends) or '0', pace[1] or '0', pace[2] or '0'}
end
local record = redis.call('HGET', shows, show)
if not record then return {'show_not_found'} end
local price, count, opens, closes = string.match(record, '^[^|]*|(%d+)|(%d+)|(%d*)|(%d*)$')
for seat in string.gmatch(seats, '%d+') do
    if tonumber(seat) > tonumber(count) then return {'seat_not_found'} end
end
local begun = opens == '' or now >= tonumber(opens)
local over = date < today or (closes ~= '' and now >= tonumber(closes))
if over or not begun then return {'show_not_open'} end
local rules = redis.call('HMGET', policy, 'seats_per_user', 'hold_ms')
local wanted, lapsed, mine = 0, {}, tonumber(redis.call('HGET', users, user) or 0)
for seat in string.gmatch(seats, '%d+') do
    local owner = redis.call('HGET', state, seat)
    if owner then
        local other = string.sub(owner, 1, 2) == 'h:' and read_hold(string.sub(owner, 3))
        if not other or now < other.deadline then return {'seat_taken'} end
        lapsed[other.reservation] = other
    end
    wanted = wanted + 1
end
-- What the user himself let lapse here, and no sweep has freed yet, counts no more.
if mine + wanted > tonumber(rules[1]) then
    for _, due in ipairs(redis.call('ZRANGEBYSCORE', deadlines, '-inf', int(now), 'LIMIT', 0, 100)) do
        local of, reserved = string.match(due, '|(.*)|(.*)$')
        local other = of == show and not lapsed[reserved] and read_hold(reserved)
        if other and other.user == user then lapsed[reserved] = other end
    end
end
for _, other in pairs(lapsed) do
    if other.user == user then mine = mine - other.count end
end
if mine + wanted > tonumber(rules[1]) then return {'seat_limit'} end

local deadline, amount = now + tonumber(rules[2]), tonumber(price) * wanted
for reserved in pairs(lapsed) do fact('seats.lapsed', reserved) end
fact('seats.held', reservation, concert, show, date, user, seats, amount, deadline)
if deadline > ends then fact('queue.pass_extended', queue, number, deadline) end
append()
for _, other in pairs(lapsed) do free_seats(other) end
for seat in string.gmatch(seats, '%d+') do
    redis.call('HSET', state, seat, 'h:' .. reservation)
    redis.call('SETBIT', taken, seat, 1)
end
redis.call('HINCRBY', free, show, -wanted)
redis.call('HINCRBY', users, user, wanted)
redis.call('HINCRBY', holders, user, 1)
redis.call('HSET', holds, reservation, table.concat({user, show, seats, int(amount), int(deadline)}, '|'))
redis.call('ZADD', deadlines, int(deadline), table.concat({concert, show, reservation}, '|'))
if deadline > ends then redis.call('ZADD', active, int(deadline), user) end
redis.call('ZREM', fresh, user)
return commit()
