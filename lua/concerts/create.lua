#!lua
-- concerts/create: makes a concert and the queue before it.
-- USES shard journal room
-- KEYS room policy
-- ARGV queue name rate max_active active_seconds max_waiting seats_per_user hold_seconds
-- RETURNS done | idempotency_key_reused
-- EVENT concert.created queue.created
-- COST O(1)
-- As in queue/create.
if redis.call('EXISTS', room) == 1 then return {'idempotency_key_reused'} end
fact('concert.created', queue, name, seats_per_user, hold_seconds)
tell_room()
append()
make_room()
redis.call('HSET', policy, 'seats_per_user', seats_per_user, 'hold_ms', int(tonumber(hold_seconds) * 1000))
return commit()
