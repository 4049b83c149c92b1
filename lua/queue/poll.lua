#!lua flags=no-writes
-- queue/poll: how a ticket stands.
-- USES shard reads pass
-- KEYS room waiting passes active ended
-- ARGV user number
-- RETURNS active(ends pace rate) | queue_not_admitted(position pace rate) | lost | queue_ticket_gone
-- RETURNS queue_not_found
-- EVENT none
-- COST O(log waiting)
local standing, detail = stand(user, number)
local known = redis.call('HMGET', room, 'pace', 'rate')
return {standing, detail and int(detail) or '0', known[1] or '0', known[2] or '0'}
