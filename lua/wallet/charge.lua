#!lua
-- wallet/charge: adds points to a balance. What is set aside counts too, so that it can always come back.
-- USES shard journal
-- KEYS balances reserved
-- ARGV user amount transaction balance_max
-- RETURNS done | balance_limit
-- EVENT points.charged
-- COST O(1)
local points = tonumber(amount)
local balance = tonumber(redis.call('HGET', balances, user) or 0)
local aside = tonumber(redis.call('HGET', reserved, user) or 0)
if balance + aside + points > tonumber(balance_max) then return {'balance_limit'} end
fact('points.charged', transaction, user, points, balance + points)
append()
redis.call('HSET', balances, user, int(balance + points))
return commit()
