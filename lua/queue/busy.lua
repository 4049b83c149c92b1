#!lua flags=no-writes
-- queue/busy: the queues of this shard in which something goes on.
-- USES shard
-- KEYS busy
-- ARGV
-- RETURNS done(queues)
-- EVENT none
-- COST O(queues)
return {'done', redis.call('SMEMBERS', busy)}
