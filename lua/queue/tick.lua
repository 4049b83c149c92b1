#!lua
-- queue/tick: journals what was soft, ends what is over, lets in whom rate and room allow, in number order.
-- USES shard journal admission line silence
-- KEYS room waiting line silent passes active fresh ended buffer log busy seen...
-- ARGV queue limit unused_ms busy_ms
-- RETURNS done | idle | queue_not_found
-- EVENT queue.joined queue.restored queue.ended queue.admitted
-- COST O(limit log waiting)
local q = redis.call('HMGET', room, 'state', 'rate', 'max_active', 'active_ms', 'closed_below', 'gaps',
    'admit_from', 'served_at', 'served_since', 'pace', 'paced_at', 'hold_until', 'hold_above', 'told',
    'restores', 'line_from', 'seen_in', 'silent_in')
if not q[1] then
    redis.call('SREM', busy, queue)
    return {'queue_not_found'}
end
local rate, most = tonumber(q[2]), tonumber(limit) - 1
line_from = tonumber(q[16])
local soft, told, restores = tell_soft(most, tonumber(q[14]), tonumber(q[15]))
-- Passes that are over or were never used, places that silence or closing has ended.
local over, vacated = {}, {}
finish(over, 'expired', active, int(now), most)
local unused = finish(over, 'unused', fresh, int(now), most)
finish(over, 'closed', waiting, q[5], most, vacated)
-- Silence counts only while the queue itself was served, and while marks were kept.
local served_since = (now - tonumber(q[8]) > 10000 or not q[17]) and now or tonumber(q[9])
local silent_in = tonumber(q[18] or 0)
if now - served_since >= (#KEYS - seen_from) * 8000 then
    local gone
    gone, silent_in = find_silent(silent_in, most)
    finish_all(over, 'lapsed', gone, vacated)
end
-- Whose turn it is.
local left, old = budget(rate, tonumber(q[3]), unused)
if q[1] ~= 'OPEN' or now < tonumber(q[7]) or behind > tonumber(busy_ms) then left = 0 end
left = math.min(left, most)
-- Only whose joining is journaled by now: else the pass would stand in Postgres before the place. And after
-- a loss the lost have time to ask before anybody above them is let in.
if restores > 0 then left = 0 end
local highest = now < tonumber(q[12]) and q[13] ~= '+inf' and math.min(told, tonumber(q[13])) or told
local users, number_of, ended_now = {}, {}, 0
for _ in pairs(over) do ended_now = ended_now + 1 end
local next_up = left == 0 and {} or redis.call('ZRANGEBYSCORE', waiting, '(' .. q[5], int(highest),
    'WITHSCORES', 'LIMIT', 0, left + ended_now)
for i = 1, #next_up, 2 do users[#users + 1], number_of[next_up[i]] = next_up[i], next_up[i + 1] end
-- Who still has a pass that is over but not yet ended waits for the next call.
local inside = #users > 0 and redis.call('HMGET', passes, unpack(users))
local admitted, numbers, places, deadline = {}, {}, {}, int(now + tonumber(q[4]))
local with_number, with_deadline, with_use, use_by = {}, {}, {}, int(now + tonumber(unused_ms))
for i, user in ipairs(users) do
    if #admitted < left and not over[user] and not inside[i] then
        local n, number = #admitted, number_of[user]
        admitted[n + 1], numbers[n + 1], places[n + 1] = user, number, number .. ':' .. user
        with_number[2 * n + 1], with_number[2 * n + 2] = user, number
        with_deadline[2 * n + 1], with_deadline[2 * n + 2] = deadline, user
        with_use[2 * n + 1], with_use[2 * n + 2] = use_by, user
    end
end
if #places > 0 then fact('queue.admitted', queue, deadline, table.concat(places, ',')) end
local something = #lines > 0
if something then append() end
redis.call('LTRIM', buffer, soft, -1)
clear(over, vacated, q[6])
if #admitted > 0 then
    redis.call('ZREM', waiting, unpack(admitted))
    leave_line(numbers)
    redis.call('HSET', passes, unpack(with_number))
    redis.call('ZADD', active, unpack(with_deadline))
    redis.call('ZADD', fresh, unpack(with_use))
end
redis.call('LTRIM', log, old, -1)
if #places > 0 then redis.call('RPUSH', log, int(now) .. ':' .. #places) end
local crowd = redis.call('ZCARD', waiting) + #places
local pace = crowd > 0 and measured_pace(tonumber(q[10]), tonumber(q[11]), rate, #places) or tonumber(q[10])
redis.call('HSET', room, 'served_at', int(now), 'served_since', int(served_since),
    'pace', string.format('%.4f', pace), 'paced_at', int(now), 'told', int(told), 'restores', restores,
    'silent_in', int(silent_in))
shorten_line(q[6])
local left_over = crowd + redis.call('ZCARD', active) + redis.call('LLEN', buffer)
if left_over == 0 then redis.call('SREM', busy, queue) end
return something and commit() or {'idle'}
