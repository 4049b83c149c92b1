#!lua
-- rewards/settle: ends a request that is in the state `from` (lib/asking): granted, or rejected for a reason,
-- and then the stock goes back.
-- USES shard journal asking
-- KEYS reward marks open
-- ARGV granted id from reason
-- RETURNS done | reward_request_closed
-- EVENT reward.granted reward.rejected
-- COST O(1)
local asking = held(from)
if not asking then return {'reward_request_closed'} end
local user, event, _, what, amount, campaign = unpack(asking)
if reason == '' then
    fact('reward.granted', granted, id, event, user, what, amount, campaign)
    append()
    keep('G', unpack(asking))
    return commit()
end
fact('reward.rejected', granted, id, event, user, reason)
append()
redis.call('HINCRBY', reward, 'taken', -1)
keep('R', unpack(asking))
return commit()
