#!lua
-- payments/decide: sells held seats, or says for ever why not. Step 2 of a payment; set once an operation.
-- USES shard journal seats
-- KEYS decided state taken users free holds holders deadlines room passes active fresh ended
-- ARGV queue concert show seats user reservation payment amount balance deadline issued
-- RETURNS done
-- EVENT payment.confirmed payment.refused queue.pass_spent
-- COST O(seats)
local earlier = redis.call('HGET', decided, op)
if earlier then return replay(earlier) end
local hold = read_hold(reservation)
local function why_not()
    -- Tombstones are kept for longer than this, so that nothing is decided after one was forgotten.
    if now - tonumber(issued) > 3600000 then return 'payment_aborted' end
    if hold and now < hold.deadline then
        return (hold.user ~= user or hold.amount ~= amount) and 'payment_aborted' or nil
    end
    local sold = redis.call('HGET', state, string.match(seats, '%d+')) == 's:' .. reservation
    if sold then return 'reservation_closed' end
    return (hold or now >= tonumber(deadline)) and 'hold_expired' or 'reservation_closed'
end
local refused = why_not()
if refused then
    fact('payment.refused', op, payment, reservation, concert, refused)
    append()
    return commit(decided)
end
fact('payment.confirmed', op, payment, reservation, concert, show, user, hold.seats, amount, balance)
-- The pass ends with the last hold that it stands for.
local pass = tonumber(redis.call('HGET', holders, user) or 0) <= 1 and redis.call('HGET', passes, user)
if pass then fact('queue.pass_spent', queue, pass) end
append()
for seat in string.gmatch(hold.seats, '%d+') do redis.call('HSET', state, seat, 's:' .. reservation) end
end_hold(hold)
if pass then
    redis.call('HDEL', passes, user)
    redis.call('ZREM', active, user)
    redis.call('ZREM', fresh, user)
    if redis.call('HGET', room, 'gaps') ~= '' then redis.call('HSET', ended, user, epoch) end
end
return commit(decided)
