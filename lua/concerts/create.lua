#!lua
-- concerts/create: makes a concert and the queue before it.
-- USES shard journal room
-- KEYS room policy
-- ARGV queue name rate max_active active_seconds max_waiting seats_per_user hold_seconds
-- RETURNS done
-- EVENT concert.created queue.created
-- COST O(1)
fact('concert.created', queue, name, seats_per_user, hold_seconds)
tell_room()
append()
make_room()
redis.call('HSET', policy, 'seats_per_user', seats_per_user, 'hold_ms', int(tonumber(hold_seconds) * 1000))
return commit()
