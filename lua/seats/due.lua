#!lua flags=no-writes
-- seats/due: holds whose deadline has come, as `concert|show|reservation`.
-- USES shard
-- KEYS deadlines
-- ARGV limit
-- RETURNS done(holds)
-- EVENT none
-- COST O(limit)
return {'done', redis.call('ZRANGEBYSCORE', deadlines, '-inf', int(now), 'LIMIT', 0, limit)}
