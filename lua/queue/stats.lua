#!lua flags=no-writes
-- queue/stats: a queue in numbers.
-- USES shard
-- KEYS room waiting active
-- ARGV
-- RETURNS done(state rate max_active waiting active number) | queue_not_found
-- EVENT none
-- COST O(log waiting)
local known = redis.call('HMGET', room, 'state', 'rate', 'max_active', 'closed_below', 'number')
if not known[1] then return {'queue_not_found'} end
return {'done', known[1], known[2], known[3], redis.call('ZCOUNT', waiting, '(' .. known[4], '+inf'),
    redis.call('ZCOUNT', active, '(' .. int(now), '+inf'), known[5]}
