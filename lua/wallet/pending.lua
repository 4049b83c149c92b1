#!lua flags=no-writes
-- wallet/pending: transfers that were set aside long ago, oldest first.
-- USES shard
-- KEYS ages
-- ARGV older_ms limit
-- RETURNS done(transfers)
-- EVENT none
-- COST O(limit)
local oldest = redis.call('ZRANGEBYSCORE', ages, '-inf', int(now - tonumber(older_ms)), 'LIMIT', 0, limit)
return {'done', oldest}
