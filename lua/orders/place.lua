#!lua
-- orders/place: takes the points for an order and counts it. `items`: menu:quantity:price:name,
-- by commas; none where something that is ordered is not on the menu.
-- USES shard journal
-- KEYS balances menu_orders menu_quantity hours hour_orders hour_quantity
-- ARGV user placed transaction total items
-- RETURNS done | menu_not_found | balance_insufficient
-- EVENT order.placed
-- COST O(items log menus)
if items == '' then return {'menu_not_found'} end
local points = tonumber(total)
local balance = tonumber(redis.call('HGET', balances, user) or 0)
if balance < points then return {'balance_insufficient'} end
fact('order.placed', placed, transaction, user, points, balance - points, items)
append()
redis.call('HSET', balances, user, int(balance - points))
local hour = int(math.floor(now / 3600000))
for menu, quantity in string.gmatch(items, '([^:,]+):(%d+):[^,]*') do
    local slot = hour .. ':' .. menu
    redis.call('ZINCRBY', menu_orders, 1, menu)
    redis.call('ZINCRBY', menu_quantity, quantity, menu)
    if redis.call('HINCRBY', hour_orders, slot, 1) == 1 then redis.call('ZADD', hours, hour, slot) end
    redis.call('HINCRBY', hour_quantity, slot, quantity)
end
return commit()
