#!lua
-- rewards/request: takes one of a reward's stock for a user, once for an event and period. `refused` is why
-- he may not, as far as Postgres knows: only a request that was made before is told again then.
-- USES shard journal asking
-- KEYS reward marks open days
-- ARGV granted id event event_version user period from till auto refused evidence
-- RETURNS done | event_not_found | event_not_open | reward_not_found | elsewhen(now)
-- RETURNS reward_already_requested | condition_not_met | reward_out_of_stock
-- EVENT reward.requested
-- COST O(1)
if refused ~= '' and refused ~= 'condition_not_met' then return {refused} end
local known = redis.call('HMGET', reward, 'state', 'stock', 'taken', 'type', 'amount', 'campaign')
if known[1] ~= 'live' then return {'reward_not_found'} end
if now < tonumber(from) or now >= tonumber(till) then return {'elsewhen', int(now)} end
local mark = event .. '|' .. user
if redis.call('HEXISTS', marks, mark) == 1 then return {'reward_already_requested'} end
if refused ~= '' then return {refused} end
if tonumber(known[3]) >= tonumber(known[2]) then return {'reward_out_of_stock'} end
fact('reward.requested', granted, id, event, event_version, user, period, auto, known[4], known[5], known[6],
    evidence)
append()
redis.call('HINCRBY', reward, 'taken', 1)
redis.call('HSET', marks, mark, '')
if period ~= '' then redis.call('SADD', days, id .. '|' .. period) end
keep(auto == '1' and 'A' or 'P', user, event, period, known[4], known[5], known[6])
return commit()
