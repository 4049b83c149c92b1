#!lua
-- payments/abort: says no where nothing was decided yet: a late decide comes too late. Step 2 as well.
-- USES shard journal
-- KEYS decided
-- ARGV reservation payment concert
-- RETURNS done
-- EVENT payment.refused
-- COST O(1)
local earlier = redis.call('HGET', decided, op)
if earlier then return replay(earlier) end
fact('payment.refused', op, payment, reservation, concert, 'payment_aborted')
append()
return commit(decided)
