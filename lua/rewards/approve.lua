#!lua
-- rewards/approve: an operator lets a request be granted.
-- USES shard journal asking
-- KEYS marks open
-- ARGV granted id
-- RETURNS done | reward_request_closed
-- EVENT reward.approved
-- COST O(1)
local asking = held('P')
if not asking then return {'reward_request_closed'} end
fact('reward.approved', granted, id)
append()
keep('A', unpack(asking))
return commit()
