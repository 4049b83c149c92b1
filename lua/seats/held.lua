#!lua flags=no-writes
-- seats/held: what a user who is in holds under an id, if anything.
-- USES shard reads pass
-- KEYS room waiting passes active ended holds
-- ARGV user number reservation
-- RETURNS done(hold) | queue_not_admitted | lost | queue_ticket_gone | queue_not_found
-- EVENT none
-- COST O(log waiting)
local standing = stand(user, number)
if standing ~= 'active' then return {standing} end
return {'done', redis.call('HGET', holds, reservation) or ''}
