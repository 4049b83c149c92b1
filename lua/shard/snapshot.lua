#!lua flags=no-writes
-- shard/snapshot: what the given keys hold, and how far the journal is, at one moment. For `verify`. Nobody
-- waits for long: of a key of more than a hundred items that does not fit into `most`, only what is asked;
-- a list comes whole up to five times `most`, or empty.
-- USES shard
-- KEYS targets...
-- ARGV most asked...
-- RETURNS done(last head large contents)
-- EVENT none
-- COST O(100 keys + 5 most + asked + bytes of strings)
-- `asked`: for each key how many, and which fields or members. Each content is its type, then items; bitmaps
-- come as strings. `large`: which contents, from 0, are not whole.
local LENGTH = {hash = 'HLEN', zset = 'ZCARD', set = 'SCARD', list = 'LLEN'}
local VALUE = {hash = 'HGET', zset = 'ZSCORE'}
local function whole(kind, key)
    if kind == 'hash' then return redis.call('HGETALL', key)
    elseif kind == 'zset' then return redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
    elseif kind == 'set' then return redis.call('SMEMBERS', key)
    elseif kind == 'list' then return redis.call('LRANGE', key, 0, -1)
    elseif kind == 'string' then return {redis.call('GET', key)} end
    return {}
end
local function found(kind, key, from, to)
    local items = {}
    for i = from, to do
        local value = VALUE[kind] and redis.call(VALUE[kind], key, ARGV[i])
        if value then
            items[#items + 1] = ARGV[i]
            items[#items + 1] = value
        elseif kind == 'set' and redis.call('SISMEMBER', key, ARGV[i]) == 1 then
            items[#items + 1] = ARGV[i]
        end
    end
    return items
end
local contents, large, left, at = {}, {}, tonumber(most), asked_from
for i = targets_from, #KEYS do
    local key, count = KEYS[i], tonumber(ARGV[at])
    local kind = redis.call('TYPE', key).ok
    local length = LENGTH[kind] and redis.call(LENGTH[kind], key) or 0
    if length <= math.max(left, kind == 'list' and 5 * most or 100) then
        left = left - length
        contents[#contents + 1] = {kind, whole(kind, key)}
    else
        large[#large + 1] = tostring(#contents)
        contents[#contents + 1] = {kind, found(kind, key, at + 1, at + count)}
    end
    at = at + 1 + count
end
return {'done', redis.call('HGET', meta, 'last'), shard[3], large, contents}
