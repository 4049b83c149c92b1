#!lua
-- wallet/void: gives points back that were set aside, because the seats' shard said no. Step 3 of a payment.
-- USES shard journal
-- KEYS balances reserved transfers ages
-- ARGV transaction payment
-- RETURNS done | closed
-- EVENT points.refunded
-- COST O(log pending)
local held = redis.call('HGET', transfers, op)
if not held then return {'closed'} end
local user, amount = string.match(held, '^([^|]+)|(%d+)|')
local balance = tonumber(redis.call('HGET', balances, user) or 0)
fact('points.refunded', transaction, user, amount, balance + tonumber(amount), payment, op)
append()
redis.call('HSET', balances, user, int(balance + tonumber(amount)))
redis.call('HINCRBY', reserved, user, int(0 - tonumber(amount)))
redis.call('HDEL', transfers, op)
redis.call('ZREM', ages, op)
return commit()
