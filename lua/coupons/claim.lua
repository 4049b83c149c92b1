#!lua
-- coupons/claim: gives a user the campaign's next coupon. `claimants`: user -> number:key version, by commas.
-- USES shard journal
-- KEYS campaign claimants
-- ARGV id user version
-- RETURNS done | campaign_not_found | campaign_not_open | coupon_already_claimed | coupon_sold_out
-- EVENT coupon.claimed
-- COST O(1)
local known = redis.call('HMGET', campaign, 'ordinal', 'quantity', 'claimed', 'expires', 'opens', 'closes',
    'per_user')
if not known[1] then return {'campaign_not_found'} end
local expires, opens, closes = tonumber(known[4]), tonumber(known[5]), tonumber(known[6])
if now >= expires or (opens and now < opens) or (closes and now >= closes) then
    return {'campaign_not_open'}
end
local mine = redis.call('HGET', claimants, user) or ''
local _, count = string.gsub(mine, ':', '')
if count >= tonumber(known[7]) then return {'coupon_already_claimed'} end
local quantity, number = tonumber(known[2]), tonumber(known[3]) + 1
if number > quantity then return {'coupon_sold_out'} end
fact('coupon.claimed', id, known[1], user, count + 1, number, quantity - number, known[7], version, expires)
append()
local coupon = int(number) .. ':' .. version
redis.call('HSET', campaign, 'claimed', int(number))
redis.call('HSET', claimants, user, mine == '' and coupon or mine .. ',' .. coupon)
return commit()
