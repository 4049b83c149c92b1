#!lua
-- rewards/delete: takes a reward away; requests that were made for it go on.
-- USES shard journal version
-- KEYS reward
-- ARGV id expected runs
-- RETURNS done | reward_not_found | version_required | version_conflict | runs
-- EVENT reward.deleted
-- COST O(1)
local known = redis.call('HMGET', reward, 'state', 'version')
if known[1] ~= 'live' then return {'reward_not_found'} end
local conflicts = conflict(known[2])
if conflicts then return {conflicts} end
if runs == '1' then return {'runs'} end
local version = int(tonumber(known[2]) + 1)
fact('reward.deleted', id, version)
append()
redis.call('HSET', reward, 'state', 'deleted', 'version', version)
return commit()
