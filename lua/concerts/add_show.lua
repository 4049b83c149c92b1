#!lua
-- concerts/add_show: adds a show with all of its seats free; one a day. Times are milliseconds, or empty.
-- USES shard journal
-- KEYS policy shows dates free
-- ARGV concert show date price seats opens closes
-- RETURNS done | concert_not_found | show_exists
-- EVENT show.added
-- COST O(1)
if redis.call('EXISTS', policy) == 0 then return {'concert_not_found'} end
if redis.call('HEXISTS', dates, date) == 1 then return {'show_exists'} end
fact('show.added', show, concert, date, price, seats, opens, closes)
append()
redis.call('HSET', shows, show, table.concat({date, price, seats, opens, closes}, '|'))
redis.call('HSET', dates, date, show)
redis.call('HSET', free, show, seats)
return commit()
