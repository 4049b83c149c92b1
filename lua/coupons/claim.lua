#!lua
-- coupons/claim: gives a user the campaign's next coupon.
-- USES shard journal claim
-- KEYS campaign claimants
-- ARGV id user version
-- RETURNS done | campaign_not_found | campaign_not_open | coupon_already_claimed | coupon_sold_out
-- EVENT coupon.claimed
-- COST O(1)
local refused = refusal()
if refused then return {refused} end
tell_claim()
append()
keep_claim()
return commit()
