#!lua
-- queue/seen: these users polled: they are still there, and a new pass of theirs is in use.
-- USES shard
-- KEYS seen fresh
-- ARGV users
-- RETURNS done
-- EVENT none
-- COST O(users log waiting)
-- One command each for all of them: a call costs as much as what it does.
local scores, members = {}, {}
for user in string.gmatch(users, '[^,]+') do
    scores[#scores + 1], scores[#scores + 2] = int(now), user
    members[#members + 1] = user
end
if #members > 0 then
    redis.call('ZADD', seen, 'XX', unpack(scores))
    redis.call('ZREM', fresh, unpack(members))
end
return {'done'}
