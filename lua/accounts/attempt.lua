#!lua
-- accounts/attempt: may a sign-in be tried? It counts as failed until accounts/withdraw takes it back, so
-- that a hundred at once are a hundred. `free` failures cost nothing; then each costs twice the wait of the
-- one before, from a second up.
-- USES shard
-- KEYS failures
-- ARGV free wait_max_ms
-- RETURNS done(until) | rate_limited(wait_ms)
-- EVENT none
-- COST O(1)
local known = redis.call('HMGET', failures, 'count', 'until')
local left = (tonumber(known[2]) or 0) - now
if left > 0 then return {'rate_limited', int(left)} end
local count = (tonumber(known[1]) or 0) + 1
local till = 0
local beyond = count - tonumber(free)
if beyond >= 0 then till = now + math.min(tonumber(wait_max_ms), 1000 * 2 ^ math.min(beyond, 30)) end
redis.call('HSET', failures, 'count', int(count), 'until', int(till))
-- It bounds memory and decides nothing: by then the wait is over.
redis.call('PEXPIRE', failures, int(2 * tonumber(wait_max_ms)))
return {'done', int(till)}
