#!lua
-- rewards/delete: takes a reward away; requests that were made for it go on.
-- USES shard journal reward
-- KEYS reward
-- ARGV id expected runs
-- RETURNS done | reward_not_found | version_required | version_conflict | runs
-- EVENT reward.was reward.deleted
-- COST O(1)
local refused = stays()
if refused then return {refused} end
if runs == '1' then return {'runs'} end
local next_version = tell_was()
fact('reward.deleted', id, next_version)
append()
redis.call('HSET', reward, 'state', 'deleted', 'version', next_version)
return commit()
