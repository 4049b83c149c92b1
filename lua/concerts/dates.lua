#!lua flags=no-writes
-- concerts/dates: the shows of a concert and their free seats, for a user who is in.
-- USES shard reads pass
-- KEYS room waiting passes active ended shows free
-- ARGV user number
-- RETURNS done(shows free) | queue_not_admitted(position pace rate) | lost | queue_ticket_gone
-- RETURNS queue_not_found
-- EVENT none
-- COST O(shows)
local standing, detail = stand(user, number)
if standing ~= 'active' then
    local pace = redis.call('HMGET', room, 'pace', 'rate')
    return {standing, detail and int(detail) or '0', pace[1] or '0', pace[2] or '0'}
end
return {'done', redis.call('HGETALL', shows), redis.call('HGETALL', free)}
