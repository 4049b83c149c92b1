#!lua flags=no-writes
-- rewards/days: some of the days of which there are marks, each `reward|day`.
-- USES shard
-- KEYS days
-- ARGV limit
-- RETURNS done(days)
-- EVENT none
-- COST O(limit)
return {'done', redis.call('SRANDMEMBER', days, tonumber(limit))}
