
-- lib/admission: what a queue's tick is made of. Needs the names queue log active buffer waiting passes, and
-- lib/shard and lib/journal.
-- What was soft, in order; neighbours of one kind make one fact. `j|number|user` joined, `l|number` left,
-- `r|number|user|later` put back instead of the user's later place, if he had one.
-- `told` is the highest number whose joining is journaled, `restores` how many places that were put back wait
-- for it; both come back as they are afterwards.
local function tell_soft(most, told, restores)
    local events, group, group_kind = redis.call('LRANGE', buffer, 0, most), {}, nil
    local function tell()
        local list = table.concat(group, ',')
        if group_kind == 'j' then fact('queue.joined', queue, list) end
        if group_kind == 'r' then fact('queue.restored', queue, list) end
        if group_kind == 'l' then fact('queue.ended', queue, 'left', list) end
        group = {}
    end
    for _, event in ipairs(events) do
        local of, number, user, later = string.match(event, '^(%a)|(%d+)|?([^|]*)|?(%d*)$')
        if of ~= group_kind or later ~= '' then tell() end
        if later ~= '' then fact('queue.ended', queue, 'replaced', later) end
        if of == 'j' then told = math.max(told, tonumber(number)) end
        if of == 'r' then restores = restores - 1 end
        group_kind = of
        group[#group + 1] = of == 'l' and number or number .. ':' .. user
    end
    tell()
    return #events, told, restores
end

-- Ends the places of these users: notes why in `over`, tells their numbers. Passes end as expired or unused,
-- places as lapsed or closed, whose numbers are `vacated`.
local function finish_all(over, why, users, vacated)
    local numbers, of_pass = {}, why == 'expired' or why == 'unused'
    for _, user in ipairs(users) do
        if not over[user] then
            over[user] = why
            local number
            if of_pass then number = redis.call('HGET', passes, user)
            else number = redis.call('ZSCORE', waiting, user) end
            if vacated then vacated[#vacated + 1] = number or nil end
            numbers[#numbers + 1] = number or nil
        end
    end
    if #numbers > 0 then fact('queue.ended', queue, why, table.concat(numbers, ',')) end
    return #numbers
end
-- The same for those in `set` up to the score `to`, at most `most` of them.
local function finish(over, why, set, to, most, vacated)
    local users = redis.call('ZRANGEBYSCORE', set, '-inf', to, 'LIMIT', 0, most)
    return finish_all(over, why, users, vacated)
end

-- How many may be let in now, and how many items of `log` are old. `log` holds `ms:count` of recent
-- admissions, so that no window of a second ever holds more than the rate; for rates under ten a second a
-- window of ten seconds is counted as well, which carries fractions exactly.
local function budget(rate, max_active, ending)
    local window = rate < 100 and 10000 or 1000
    local second, all, old = 0, 0, 0
    for _, item in ipairs(redis.call('LRANGE', log, 0, -1)) do
        local at, count = string.match(item, '(%d+):(%d+)')
        local age = now - tonumber(at)
        if age >= window then old = old + 1 else
            all = all + tonumber(count)
            if age < 1000 then second = second + tonumber(count) end
        end
    end
    local inside = redis.call('ZCOUNT', active, '(' .. int(now), '+inf') - ending
    local left = math.min(max_active - inside, math.ceil(rate / 10) - second)
    if window == 10000 then left = math.min(left, rate - all) end
    return math.max(0, left), old
end

-- Admissions a second as measured, weighted over half a minute; the set rate until there is a measure.
local function measured_pace(pace, paced_at, rate, admitted)
    if pace == 0 then return rate / 10 end
    local passed = math.max(1, now - paced_at)
    return pace + (1 - math.exp(-passed / 30000)) * (admitted * 1000 / passed - pace)
end
