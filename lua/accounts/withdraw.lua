#!lua
-- accounts/withdraw: an attempt was no failure. `till` is the wait that it began, which ends; where `all` is
-- 1 the failures before it are forgotten as well.
-- USES shard
-- KEYS failures
-- ARGV till all
-- RETURNS done
-- EVENT none
-- COST O(1)
if all == '1' then
    redis.call('DEL', failures)
    return {'done'}
end
local known = redis.call('HMGET', failures, 'count', 'until')
local count = tonumber(known[1]) or 0
if count > 0 then
    redis.call('HSET', failures, 'count', int(count - 1))
    if known[2] == till then redis.call('HSET', failures, 'until', '0') end
end
return {'done'}
