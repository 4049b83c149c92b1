#!lua
-- accounts/attempt: may a sign-in be tried? `free` failures cost nothing; beyond them one at a time is tried,
-- after a wait. A try counts as a failure until accounts/settle tells how it ended, so that a hundred at once
-- are a hundred. `try_ms` after the first of those that are under way all of them are forgotten.
-- USES shard failures
-- KEYS failures
-- ARGV free decay_ms try_ms keep_ms
-- RETURNS done | rate_limited(wait_ms)
-- EVENT none
-- COST O(1)
local left = till - now
if left > 0 then return {'rate_limited', int(left)} end
if now - tried >= tonumber(try_ms) then tries = 0 end
if tries > 0 and count + tries >= tonumber(free) then return {'rate_limited', '1000'} end
if tries == 0 then redis.call('HSET', failures, 'tried', int(now)) end
redis.call('HSET', failures, 'tries', int(tries + 1))
redis.call('PEXPIRE', failures, int(tonumber(keep_ms) + count * tonumber(decay_ms)))
return {'done'}
