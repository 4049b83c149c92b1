#!lua flags=no-writes
-- shard/snapshot: what the given keys hold, and how far the journal is, at one moment. For `verify`.
-- USES shard
-- KEYS targets...
-- ARGV
-- RETURNS done(last head contents): each content is its type, then its items; bitmaps come as strings
-- EVENT none
-- COST O(items): it holds everybody up for about a microsecond an item
local contents = {}
for i = targets_from, #KEYS do
    local kind, key = redis.call('TYPE', KEYS[i]).ok, KEYS[i]
    if kind == 'hash' then contents[#contents + 1] = {kind, redis.call('HGETALL', key)}
    elseif kind == 'zset' then
        contents[#contents + 1] = {kind, redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')}
    elseif kind == 'set' then contents[#contents + 1] = {kind, redis.call('SMEMBERS', key)}
    elseif kind == 'list' then contents[#contents + 1] = {kind, redis.call('LRANGE', key, 0, -1)}
    elseif kind == 'string' then contents[#contents + 1] = {kind, {redis.call('GET', key)}}
    else contents[#contents + 1] = {kind, {}} end
end
return {'done', redis.call('HGET', meta, 'last'), shard[3], contents}
