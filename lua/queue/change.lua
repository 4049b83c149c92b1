#!lua
-- queue/change: changes settings; an empty argument leaves one as it is. Closing ends all who wait.
-- USES shard journal
-- KEYS room busy
-- ARGV queue state rate max_active active_seconds max_waiting
-- RETURNS done | queue_not_found
-- EVENT queue.was queue.changed
-- COST O(1)
local known = redis.call('HMGET', room, 'state', 'rate', 'max_active', 'active_ms', 'max_waiting', 'number',
    'closed_below')
if not known[1] then return {'queue_not_found'} end
fact('queue.was', queue, known[1], known[2], known[3], int(tonumber(known[4]) / 1000), known[5])
local function either(new, old) if new == '' then return old end return new end
state = either(state, known[1])
rate = either(rate, known[2])
max_active = either(max_active, known[3])
active_seconds = either(active_seconds, int(tonumber(known[4]) / 1000))
max_waiting = max_waiting == 'none' and '' or either(max_waiting, known[5])
local closed_below = state == 'CLOSED' and known[6] or known[7]
fact('queue.changed', queue, state, rate, max_active, active_seconds, max_waiting, closed_below)
append()
redis.call('HSET', room, 'state', state, 'rate', rate, 'max_active', max_active,
    'active_ms', int(tonumber(active_seconds) * 1000), 'max_waiting', max_waiting,
    'closed_below', closed_below)
redis.call('SADD', busy, queue)
return commit()
