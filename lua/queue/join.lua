#!lua
-- queue/join: for each of many users takes a place, or finds the one that he has. Soft: the tick journals it.
-- USES shard line
-- KEYS room waiting line passes active buffer busy seen...
-- ARGV queue users gate
-- RETURNS done(pace rate, and for each user one of the next six) | queue_not_found
-- RETURNS joined(number position) | found(number position) | active(number ends)
-- RETURNS queue_closed | queue_full | busy
-- EVENT none
-- COST O(users log waiting)
local known = redis.call('HMGET', room, 'state', 'max_waiting', 'closed_below', 'pace', 'rate', 'line_from')
if not known[1] then return {'queue_not_found'} end
line_from = tonumber(known[6])
local asking, answers, closed, open = {}, {'done', known[4], known[5]}, tonumber(known[3]), '(' .. known[3]
for user in string.gmatch(users, '[^,]+') do asking[#asking + 1] = user end
local inside = redis.call('HMGET', passes, unpack(asking))
local places = redis.call('ZMSCORE', waiting, unpack(asking))
local before = redis.call('ZCOUNT', waiting, open, '+inf')
local left = known[2] == '' and #asking or tonumber(known[2]) - before
-- Who gets a place, as the first with it and its answer; who has asked twice gets one.
local new, taken = {}, {}
for i, user in ipairs(asking) do
    local ends = inside[i] and tonumber(redis.call('ZSCORE', active, user) or 0) or 0
    local place, answer = tonumber(places[i] or 0), nil
    if ends > now then answer = {'active', inside[i], int(ends)}
    elseif place > closed then answer = {'found', int(place), redis.call('ZCOUNT', waiting, open, int(place))}
    elseif taken[user] then answer = taken[user]
    elseif known[1] == 'CLOSED' then answer = {'queue_closed'}
    elseif behind > tonumber(gate) then answer = {'busy'}
    elseif left < 1 then answer = {'queue_full'}
    else
        answer, left = {'joined', user, before + #new + 1, place}, left - 1
        new[#new + 1] = answer
        taken[user] = {'found', answer}
    end
    answers[i + 3] = answer
end
if #new == 0 then return answers end
local first = tonumber(redis.call('HINCRBY', room, 'number', #new)) - #new + 1
local members, events = {}, {}
for i, answer in ipairs(new) do
    local user, place, number = answer[2], answer[4], int(first + i - 1)
    -- A place that closing has ended, and that no tick has swept yet.
    if place > 0 then
        events[#events + 1] = 'l|' .. int(place)
        leave_line({place})
    end
    members[#members + 1], members[#members + 2] = number, user
    events[#events + 1] = 'j|' .. number .. '|' .. user
    answer[2], answer[4] = number, nil
    local again = taken[user]
    again[2], again[3] = number, answer[3]
end
redis.call('ZADD', waiting, unpack(members))
enter_line(first, #new)
-- A queue whose buffer held something is busy.
local soft = redis.call('RPUSH', buffer, unpack(events))
if soft == #events then redis.call('SADD', busy, queue) end
return answers
