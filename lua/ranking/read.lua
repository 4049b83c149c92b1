#!lua flags=no-writes
-- ranking/read: the totals of a shard, and what of them belongs to hours that have left the window, which
-- begins at `from` or later. Refused while there is more of that than `limit`.
-- USES shard
-- KEYS menu_orders menu_quantity hours hour_orders hour_quantity
-- ARGV days from limit
-- RETURNS done(begin orders quantity gone) | busy: lists of menu and number, `gone` of menu and both
-- EVENT none
-- COST O(menus + limit)
local begin = math.max(math.floor(now / 3600000) - days * 24, tonumber(from))
local old = redis.call('ZRANGE', hours, '-inf', '(' .. int(begin), 'BYSCORE', 'LIMIT', 0, limit + 1)
if #old > tonumber(limit) then return {'busy'} end
local gone = {}
for i = 1, #old do
    gone[#gone + 1] = string.match(old[i], ':(.+)$')
    gone[#gone + 1] = redis.call('HGET', hour_orders, old[i])
    gone[#gone + 1] = redis.call('HGET', hour_quantity, old[i])
end
return {'done', int(begin), redis.call('ZRANGE', menu_orders, 0, -1, 'WITHSCORES'),
    redis.call('ZRANGE', menu_quantity, 0, -1, 'WITHSCORES'), gone}
