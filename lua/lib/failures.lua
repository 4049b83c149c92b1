
-- lib/failures: failed sign-ins of an account or an address; one is forgotten each `decay_ms`. Needs the
-- names failures decay_ms, and lib/shard.
local failed = redis.call('HMGET', failures, 'count', 'at', 'until', 'tries', 'tried')
local count, at = tonumber(failed[1]) or 0, tonumber(failed[2]) or 0
local till, tries, tried = tonumber(failed[3]) or 0, tonumber(failed[4]) or 0, tonumber(failed[5]) or 0
local forgotten = math.floor(math.max(0, now - at) / tonumber(decay_ms))
if forgotten >= count then
    count, at = 0, now
else
    count, at = count - forgotten, at + forgotten * tonumber(decay_ms)
end
