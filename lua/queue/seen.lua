#!lua
-- queue/seen: who polled is still there, bits from a number on; new passes of these users are in use.
-- USES shard line
-- KEYS room line fresh scratch seen...
-- ARGV from bits users
-- RETURNS done
-- EVENT none
-- COST O(users log waiting), and an eighth of a byte for each number of the line
line_from = tonumber(redis.call('HGET', room, 'line_from'))
see(from, bits)
local members = {}
for user in string.gmatch(users, '[^,]+') do members[#members + 1] = user end
if #members > 0 then redis.call('ZREM', fresh, unpack(members)) end
return {'done'}
