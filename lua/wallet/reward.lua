#!lua
-- wallet/reward: adds a reward's points to a balance, or says for ever that it cannot hold them.
-- USES shard journal
-- KEYS balances reserved
-- ARGV granted user amount transaction balance_max
-- RETURNS done
-- EVENT points.rewarded grant.made grant.refused
-- COST O(1)
local points = tonumber(amount)
local balance = tonumber(redis.call('HGET', balances, user) or 0)
local aside = tonumber(redis.call('HGET', reserved, user) or 0)
if balance + aside + points > tonumber(balance_max) then
    fact('grant.refused', granted, user, 'balance_limit')
    append()
    return commit()
end
fact('points.rewarded', transaction, user, points, balance + points, granted)
fact('grant.made', granted, user, '', '')
append()
redis.call('HSET', balances, user, int(balance + points))
return commit()
