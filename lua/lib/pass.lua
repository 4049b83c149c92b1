
-- lib/pass: how a ticket stands. Needs the names room waiting passes active ended, and lib/shard.
-- RETURNS queue_not_found | queue_ticket_gone
-- A ticket matches by user and number. `lost`: its number lies in a gap that a loss of Redis left, and no
-- place of its user has ended in a later epoch than the gap's. So no lost ticket gives a second turn.
local function stand(user, number)
    local known = redis.call('HMGET', room, 'state', 'closed_below')
    if not known[1] then return 'queue_not_found' end
    local pass = redis.call('HGET', passes, user)
    if pass == number then
        local ends = tonumber(redis.call('ZSCORE', active, user) or 0)
        if ends > now then return 'active', ends end
        return 'queue_ticket_gone'
    end
    local mine, place = tonumber(number), tonumber(redis.call('ZSCORE', waiting, user) or 0)
    if mine <= tonumber(known[2]) then return 'queue_ticket_gone' end
    if place == mine then
        return 'queue_not_admitted', redis.call('ZCOUNT', waiting, '(' .. known[2], number)
    end
    -- Of two places of one user the lower wins; a pass under another number stays.
    if pass or known[1] == 'CLOSED' or (place > 0 and place < mine) then return 'queue_ticket_gone' end
    for low, high, of in string.gmatch(redis.call('HGET', room, 'gaps'), '(%d+)%-(%d+)%-(%d+)') do
        if mine > tonumber(low) and mine <= tonumber(high) then
            local last_end = tonumber(redis.call('HGET', ended, user) or 0)
            return last_end > tonumber(of) and 'queue_ticket_gone' or 'lost'
        end
    end
    return 'queue_ticket_gone'
end
