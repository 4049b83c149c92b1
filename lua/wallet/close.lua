#!lua
-- wallet/close: forgets a transfer whose seats are sold. Clean-up: it is not journaled, and may be repeated.
-- USES shard
-- KEYS reserved transfers ages
-- ARGV transfer
-- RETURNS done
-- EVENT none
-- COST O(log pending)
local held = redis.call('HGET', transfers, transfer)
if held then
    local user, amount = string.match(held, '^([^|]+)|(%d+)|')
    redis.call('HINCRBY', reserved, user, int(0 - tonumber(amount)))
    redis.call('HDEL', transfers, transfer)
    redis.call('ZREM', ages, transfer)
end
return {'done'}
