#!lua
-- queue/create: makes a queue that stands alone.
-- USES shard journal room
-- KEYS room
-- ARGV queue name rate max_active active_seconds max_waiting
-- RETURNS done
-- EVENT queue.created
-- COST O(1)
tell_room()
append()
make_room()
return commit()
