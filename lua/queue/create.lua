#!lua
-- queue/create: makes a queue that stands alone.
-- USES shard journal room
-- KEYS room
-- ARGV queue name rate max_active active_seconds max_waiting
-- RETURNS done | idempotency_key_reused
-- EVENT queue.created
-- COST O(1)
-- Its id comes from the key: one that was used so long ago that its record is gone names what is there.
if redis.call('EXISTS', room) == 1 then return {'idempotency_key_reused'} end
tell_room()
append()
make_room()
return commit()
