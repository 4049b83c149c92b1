#!lua
-- payments/forget: drops decisions that were closed in Postgres a day ago.
-- USES shard
-- KEYS decided
-- ARGV transfers
-- RETURNS done
-- EVENT none
-- COST O(transfers)
for transfer in string.gmatch(transfers, '[^,]+') do redis.call('HDEL', decided, transfer) end
return {'done'}
