#!lua
-- wallet/reserve: sets points aside for a payment, which the seats' shard decides. Step 1 of a payment.
-- USES shard journal
-- KEYS balances reserved transfers ages
-- ARGV user amount transaction payment reservation concert
-- RETURNS done | balance_insufficient
-- EVENT points.reserved
-- COST O(log pending)
local points = tonumber(amount)
local balance = tonumber(redis.call('HGET', balances, user) or 0)
if balance < points then return {'balance_insufficient'} end
fact('points.reserved', transaction, user, points, balance - points, payment, reservation, concert)
append()
redis.call('HSET', balances, user, int(balance - points))
redis.call('HINCRBY', reserved, user, int(points))
redis.call('HSET', transfers, op,
    table.concat({user, int(points), int(balance - points), payment, reservation, concert}, '|'))
redis.call('ZADD', ages, int(now), op)
return commit()
