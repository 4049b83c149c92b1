#!lua
-- rewards/change: changes a reward, also its stock. While an event `runs`, it stays what it is.
-- USES shard journal reward
-- KEYS reward
-- ARGV id expected runs name what amount campaign stock
-- RETURNS done | reward_not_found | version_required | version_conflict | runs | taken(taken)
-- EVENT reward.was reward.changed
-- COST O(1)
local refused = stays()
if refused then return {refused} end
local same = known[4] == what and known[5] == amount and known[6] == campaign
if runs == '1' and not same then return {'runs'} end
if tonumber(stock) < tonumber(known[8]) then return {'taken', known[8]} end
local next_version = tell_was()
fact('reward.changed', id, next_version, name, what, amount, campaign, stock, known[8])
append()
redis.call('HSET', reward, 'version', next_version, 'name', name, 'type', what, 'amount', amount,
    'campaign', campaign, 'stock', stock)
return commit()
