#!lua
-- wallet/charge_many: adds points to many balances of a shard. `charges`: user:amount:transaction, by commas.
-- USES shard journal
-- KEYS balances reserved
-- ARGV charges balance_max
-- RETURNS done | balance_limit
-- EVENT points.charged
-- COST O(charges)
local after, users = {}, {}
for user, amount, transaction in string.gmatch(charges, '([^:,]+):(%d+):([^:,]+)') do
    local points = tonumber(amount)
    local balance = after[user] or tonumber(redis.call('HGET', balances, user) or 0)
    local aside = tonumber(redis.call('HGET', reserved, user) or 0)
    if balance + aside + points > tonumber(balance_max) then return {'balance_limit'} end
    if not after[user] then users[#users + 1] = user end
    after[user] = balance + points
    fact('points.charged', transaction, user, points, balance + points)
end
append()
for i = 1, #users do redis.call('HSET', balances, users[i], int(after[users[i]])) end
return commit()
