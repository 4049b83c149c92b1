#!lua
-- shard/load: one chunk of a rebuild. `commands`: command, number of key, count, argument …, and so on.
-- KEYS meta targets...
-- ARGV epoch chunk commands...
-- RETURNS ok | stale_epoch(epoch) | out_of_order(chunk)
-- EVENT none
-- COST O(arguments)
local known = redis.call('HMGET', meta, 'epoch', 'state', 'chunk')
if known[1] ~= epoch or known[2] ~= 'loading' then return {'stale_epoch', known[1] or ''} end
-- The driver may send a chunk twice; loading it again would push list items twice.
if known[3] == chunk then return {'ok'} end
if tonumber(known[3]) + 1 ~= tonumber(chunk) then return {'out_of_order', known[3]} end
local allowed = {HSET = true, ZADD = true, SADD = true, RPUSH = true, SETBIT = true,
    BITFIELD = true}
local i = commands_from
while i <= #ARGV do
    local command, key, count = ARGV[i], KEYS[targets_from - 1 + tonumber(ARGV[i + 1])], tonumber(ARGV[i + 2])
    if not allowed[command] then return redis.error_reply('ERR script shard/load: ' .. command) end
    redis.call(command, key, unpack(ARGV, i + 3, i + 2 + count))
    i = i + 3 + count
end
redis.call('HSET', meta, 'chunk', chunk)
return {'ok'}
