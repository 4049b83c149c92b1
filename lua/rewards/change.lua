#!lua
-- rewards/change: changes a reward; also its stock. While an event `runs`, it stays what it is.
-- USES shard journal version
-- KEYS reward
-- ARGV id expected runs name what amount campaign stock
-- RETURNS done | reward_not_found | version_required | version_conflict | runs | taken(taken)
-- EVENT reward.changed
-- COST O(1)
local known = redis.call('HMGET', reward, 'state', 'version', 'type', 'amount', 'campaign', 'taken', 'stock')
if known[1] ~= 'live' then return {'reward_not_found'} end
local conflicts = conflict(known[2])
if conflicts then return {conflicts} end
local same = known[3] == what and known[4] == amount and known[5] == campaign
if runs == '1' and not same then return {'runs'} end
if tonumber(stock) < tonumber(known[6]) then return {'taken', known[6]} end
local version = int(tonumber(known[2]) + 1)
fact('reward.changed', id, version, name, what, amount, campaign, stock, known[6])
append()
redis.call('HSET', reward, 'version', version, 'type', what, 'amount', amount, 'campaign', campaign,
    'stock', stock)
return commit()
