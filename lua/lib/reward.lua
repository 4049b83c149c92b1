
-- lib/reward: a reward that is to change. Needs the names reward id expected, and lib/journal. `expected`:
-- `*`, or versions between commas.
local known = redis.call('HMGET', reward, 'state', 'version', 'name', 'type', 'amount', 'campaign', 'stock',
    'taken')
-- Why it may not.
local function stays()
    if known[1] ~= 'live' then return 'reward_not_found' end
    if expected == '' then return 'version_required' end
    if expected == '*' or string.find(expected, ',' .. known[2] .. ',', 1, true) then return nil end
    return 'version_conflict'
end
-- How it was; and its next version.
local function tell_was()
    fact('reward.was', id, known[2], known[3], known[4], known[5], known[6], known[7])
    return int(tonumber(known[2]) + 1)
end
