#!lua
-- queue/leave: gives a place or a pass up. Soft: the tick journals it.
-- USES shard pass line
-- KEYS room waiting line passes active fresh ended buffer busy
-- ARGV queue user number
-- RETURNS done | queue_ticket_gone | queue_not_found
-- EVENT none
-- COST O(log waiting)
local standing = stand(user, number)
local known = redis.call('HMGET', room, 'line_from', 'gaps')
line_from = tonumber(known[1])
if standing == 'queue_not_found' or standing == 'queue_ticket_gone' then return {standing} end
if standing == 'lost' then
    -- It must not come back either; a later place of the same user ends with it.
    local later = redis.call('ZSCORE', waiting, user) or ''
    redis.call('ZREM', waiting, user)
    if later ~= '' then leave_line({later}) end
    redis.call('RPUSH', buffer, table.concat({'r', number, user, later}, '|'))
    redis.call('HINCRBY', room, 'restores', 1)
elseif standing == 'active' then
    redis.call('HDEL', passes, user)
    redis.call('ZREM', active, user)
    redis.call('ZREM', fresh, user)
else
    redis.call('ZREM', waiting, user)
    leave_line({number})
end
redis.call('RPUSH', buffer, 'l|' .. number)
if known[2] ~= '' then redis.call('HSET', ended, user, epoch) end
redis.call('SADD', busy, queue)
return {'done'}
