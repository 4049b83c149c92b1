
-- lib/shard: what every script of a live shard begins with: is this epoch alive, and what time is it?
-- KEYS meta
-- ARGV epoch clock
-- RETURNS stale_epoch | fenced | clock_jumped(now seen)
local function int(number) return string.format('%.0f', number) end
local shard = redis.call('HMGET', meta, 'epoch', 'state', 'head', 'seen', 'pending_since')
if shard[1] ~= epoch then return {'stale_epoch'} end
if shard[2] ~= 'live' then return {'fenced'} end
-- Redis TIME, read once, never backwards, never more than a minute ahead of what this shard saw last.
local now, last_seen = tonumber(clock), tonumber(shard[4])
if not now then
    local time = redis.call('TIME')
    now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local clock_now = now
if now < last_seen then now = last_seen end
if now - last_seen > 60000 then return {'clock_jumped', int(now), int(last_seen)} end
-- How long the oldest entry has waited for Postgres, in milliseconds.
local behind = shard[5] and now - tonumber(shard[5]) or 0
