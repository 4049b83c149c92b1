#!lua
-- wallet/close: forgets transfers whose seats are sold. Clean-up: it is not journaled, and may be repeated.
-- USES shard
-- KEYS reserved transfers ages
-- ARGV closed
-- RETURNS done
-- EVENT none
-- COST O(closed log pending)
for transfer in string.gmatch(closed, '[^,]+') do
    local held = redis.call('HGET', transfers, transfer)
    if held then
        local user, amount = string.match(held, '^([^|]+)|(%d+)|')
        redis.call('HINCRBY', reserved, user, int(0 - tonumber(amount)))
        redis.call('HDEL', transfers, transfer)
        redis.call('ZREM', ages, transfer)
    end
end
return {'done'}
