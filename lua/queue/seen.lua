#!lua
-- queue/seen: these users polled: they are still there, and a new pass of theirs is in use.
-- USES shard
-- KEYS seen fresh
-- ARGV users
-- RETURNS done
-- EVENT none
-- COST O(users log waiting)
for user in string.gmatch(users, '[^,]+') do
    redis.call('ZADD', seen, 'XX', int(now), user)
    redis.call('ZREM', fresh, user)
end
return {'done'}
