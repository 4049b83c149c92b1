#!lua
-- coupons/grant: gives a user the campaign's next coupon as a reward, or says for ever why not.
-- USES shard journal claim
-- KEYS campaign claimants
-- ARGV granted id user version
-- RETURNS done
-- EVENT coupon.claimed grant.made grant.refused
-- COST O(1)
local refused = refusal()
if refused then
    fact('grant.refused', granted, user, refused)
    append()
    return commit()
end
tell_claim()
fact('grant.made', granted, user, id, number)
append()
keep_claim()
return commit()
