
-- lib/claim: a user gets the campaign's next coupon, or not. Needs the names campaign claimants id user
-- version, and lib/journal. `claimants`: user -> number:key version, by commas.
local known = redis.call('HMGET', campaign, 'ordinal', 'quantity', 'claimed', 'expires', 'opens', 'closes',
    'per_user')
local quantity, number = tonumber(known[2]), (tonumber(known[3]) or 0) + 1
local mine = redis.call('HGET', claimants, user) or ''
local _, mine_count = string.gsub(mine, ':', '')
-- Why he may not have one.
local function refusal()
    if not known[1] then return 'campaign_not_found' end
    local expires, opens, closes = tonumber(known[4]), tonumber(known[5]), tonumber(known[6])
    if now >= expires or (opens and now < opens) or (closes and now >= closes) then
        return 'campaign_not_open'
    end
    if mine_count >= tonumber(known[7]) then return 'coupon_already_claimed' end
    if number > quantity then return 'coupon_sold_out' end
end
local function tell_claim()
    fact('coupon.claimed', id, known[1], user, mine_count + 1, number, quantity - number, known[7], version,
        known[4])
end
local function keep_claim()
    local coupon = int(number) .. ':' .. version
    redis.call('HSET', campaign, 'claimed', int(number))
    redis.call('HSET', claimants, user, mine == '' and coupon or mine .. ',' .. coupon)
end
