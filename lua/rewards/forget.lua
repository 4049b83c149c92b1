#!lua
-- rewards/forget: drops the marks of a day that was over long ago: nobody asks for it again.
-- USES shard
-- KEYS marks days
-- ARGV day over_ms
-- RETURNS done | idle
-- EVENT none
-- COST O(1), the fields are freed in the background
if now < tonumber(over_ms) then return {'idle'} end
redis.call('UNLINK', marks)
redis.call('SREM', days, day)
return {'done'}
