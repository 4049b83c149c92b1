
-- lib/asking: a request for a reward. Needs the names marks open granted, and lib/journal.
-- `marks`, a key a period: event|user -> state:request. `open`, until it ends: request ->
-- state|user|event|period|type|amount|campaign. States: P waits for an operator, A is granted elsewhere,
-- G granted, R rejected. Marks of days that are over are forgotten, and stay so.
local function keep(state, user, event, period, what, amount, campaign)
    local mark = event .. '|' .. user
    if redis.call('HEXISTS', marks, mark) == 1 then
        redis.call('HSET', marks, mark, state .. ':' .. granted)
    end
    if state == 'P' or state == 'A' then
        redis.call('HSET', open, granted,
            table.concat({state, user, event, period, what, amount, campaign}, '|'))
    else
        redis.call('HDEL', open, granted)
    end
end
-- An open request in this state.
local function held(state)
    local record = redis.call('HGET', open, granted)
    if not record or string.sub(record, 1, 1) ~= state then return nil end
    return {string.match(record, '^%u|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)$')}
end
