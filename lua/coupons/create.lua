#!lua
-- coupons/create: makes a campaign; its coupons are made when they are claimed.
-- USES shard journal
-- KEYS campaign
-- ARGV id ordinal name quantity expires opens closes per_user
-- RETURNS done | idempotency_key_reused
-- EVENT campaign.created
-- COST O(1)
-- As in queue/create.
if redis.call('EXISTS', campaign) == 1 then return {'idempotency_key_reused'} end
fact('campaign.created', id, ordinal, name, quantity, expires, opens, closes, per_user)
append()
redis.call('HSET', campaign, 'ordinal', ordinal, 'quantity', quantity, 'claimed', '0', 'expires', expires,
    'opens', opens, 'closes', closes, 'per_user', per_user)
return commit()
