#!lua flags=no-writes
-- seats/read: which seats of a show are taken, for a user who is in. A bitmap: bit n for seat n.
-- USES shard reads pass
-- KEYS room waiting passes active ended shows taken
-- ARGV user number show
-- RETURNS done(taken) | queue_not_admitted(position pace rate) | lost | queue_ticket_gone | queue_not_found
-- RETURNS show_not_found
-- EVENT none
-- COST O(log waiting), and an eighth of a byte a seat
local standing, detail = stand(user, number)
if standing ~= 'active' then
    local pace = redis.call('HMGET', room, 'pace', 'rate')
    return {standing, detail and int(detail) or '0', pace[1] or '0', pace[2] or '0'}
end
if redis.call('HEXISTS', shows, show) == 0 then return {'show_not_found'} end
return {'done', redis.call('GET', taken) or ''}
