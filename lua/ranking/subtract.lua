#!lua
-- ranking/subtract: takes hours that have left the window out of the totals, each once.
-- USES shard
-- KEYS menu_orders menu_quantity hours hour_orders hour_quantity
-- ARGV days limit
-- RETURNS done(begin left): the window's first hour, and how many were taken out
-- EVENT none
-- COST O(limit log menus)
local begin = math.floor(now / 3600000) - days * 24
local old = redis.call('ZRANGE', hours, '-inf', '(' .. int(begin), 'BYSCORE', 'LIMIT', 0, limit)
for i = 1, #old do
    local slot, menu = old[i], string.match(old[i], ':(.+)$')
    local orders, quantity = redis.call('HGET', hour_orders, slot), redis.call('HGET', hour_quantity, slot)
    if tonumber(redis.call('ZINCRBY', menu_orders, '-' .. orders, menu)) > 0 then
        redis.call('ZINCRBY', menu_quantity, '-' .. quantity, menu)
    else
        redis.call('ZREM', menu_orders, menu)
        redis.call('ZREM', menu_quantity, menu)
    end
    redis.call('HDEL', hour_orders, slot)
    redis.call('HDEL', hour_quantity, slot)
    redis.call('ZREM', hours, slot)
end
return {'done', int(begin), #old}
