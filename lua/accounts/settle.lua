#!lua
-- accounts/settle: how a try ended: `failed`, `succeeded` (what failed before it is forgotten) or `untried`
-- (nobody looked at the password, or it was right and others of this address failed). Each failure beyond
-- `free` costs twice the wait of the one before, from a second up to `wait_max_ms`.
-- USES shard failures
-- KEYS failures
-- ARGV outcome free wait_max_ms decay_ms keep_ms
-- RETURNS done
-- EVENT none
-- COST O(1)
tries = math.max(0, tries - 1)
if outcome == 'succeeded' then count, till = 0, 0 end
if outcome == 'failed' then
    count = count + 1
    local beyond = count - tonumber(free)
    if beyond >= 0 then
        till = now + math.min(tonumber(wait_max_ms), 1000 * 2 ^ math.min(beyond, 30))
    end
end
if count == 0 and tries == 0 then
    redis.call('DEL', failures)
    return {'done'}
end
redis.call('HSET', failures, 'count', int(count), 'at', int(at), 'until', int(till), 'tries', int(tries))
-- It bounds memory and decides nothing: by then the wait is over and all is forgotten.
redis.call('PEXPIRE', failures, int(tonumber(keep_ms) + count * tonumber(decay_ms)))
return {'done'}
