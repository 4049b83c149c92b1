#!lua flags=no-writes
-- queue/line: all who wait, a bit a number from `from` on, for an instance to answer polls from.
-- USES shard
-- KEYS room waiting line
-- ARGV bytes_max
-- RETURNS done(epoch pace rate closed_below waiting from bits) | no_line | queue_not_found
-- EVENT none
-- COST O(log waiting), and an eighth of a byte for each number from the first who waits
local known = redis.call('HMGET', room, 'pace', 'rate', 'closed_below', 'line_from')
if not known[1] then return {'queue_not_found'} end
if not known[4] then return {'no_line'} end
local count = redis.call('ZCOUNT', waiting, '(' .. known[3], '+inf')
local first = redis.call('ZRANGEBYSCORE', waiting, '(' .. known[3], '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
if not first then return {'done', epoch, known[1], known[2], known[3], count, known[4], ''} end
local byte = math.floor((tonumber(first) - tonumber(known[4])) / 8)
if byte < 0 or redis.call('STRLEN', line) - byte > tonumber(bytes_max) then return {'no_line'} end
return {'done', epoch, known[1], known[2], known[3], count, int(tonumber(known[4]) + byte * 8),
    redis.call('GETRANGE', line, byte, -1)}
