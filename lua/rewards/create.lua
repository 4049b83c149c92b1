#!lua
-- rewards/create: makes a reward with its stock.
-- USES shard journal
-- KEYS reward
-- ARGV id name what amount campaign stock
-- RETURNS done | idempotency_key_reused
-- EVENT reward.created
-- COST O(1)
-- As in queue/create.
if redis.call('EXISTS', reward) == 1 then return {'idempotency_key_reused'} end
fact('reward.created', id, name, what, amount, campaign, stock)
append()
redis.call('HSET', reward, 'state', 'live', 'version', '1', 'name', name, 'type', what, 'amount', amount,
    'campaign', campaign, 'stock', stock, 'taken', '0')
return commit()
