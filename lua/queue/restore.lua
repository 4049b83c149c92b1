#!lua
-- queue/restore: puts a place back that was lost with Redis, at its own number. Soft: the tick journals it.
-- USES shard pass line
-- KEYS room waiting line passes active ended buffer busy seen...
-- ARGV queue user number
-- RETURNS active(ends) | queue_not_admitted(position) | queue_ticket_gone | queue_not_found
-- EVENT none
-- COST O(log waiting)
local standing, detail = stand(user, number)
if standing == 'lost' then
    line_from = tonumber(redis.call('HGET', room, 'line_from'))
    -- A later place of the same user gives way.
    local later = redis.call('ZSCORE', waiting, user) or ''
    redis.call('ZADD', waiting, number, user)
    enter_line(number, 1)
    if later ~= '' then leave_line({later}) end
    redis.call('RPUSH', buffer, table.concat({'r', number, user, later}, '|'))
    redis.call('HINCRBY', room, 'restores', 1)
    redis.call('SADD', busy, queue)
    standing, detail = stand(user, number)
end
local known = redis.call('HMGET', room, 'pace', 'rate')
return {standing, detail and int(detail) or '0', known[1] or '0', known[2] or '0'}
