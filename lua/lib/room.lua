
-- lib/room: makes a queue. Needs the names room queue name rate max_active active_seconds max_waiting, and
-- lib/journal. `rate` is admissions a second in tenths.
local function tell_room()
    fact('queue.created', queue, name, rate, max_active, active_seconds, max_waiting)
end
local function make_room()
    redis.call('HSET', room, 'state', 'OPEN', 'rate', rate, 'max_active', max_active,
        'active_ms', int(tonumber(active_seconds) * 1000), 'max_waiting', max_waiting, 'number', '0',
        'closed_below', '0', 'gaps', '', 'admit_from', '0',
        'hold_until', '0', 'hold_above', '0', 'served_at', int(now), 'served_since', int(now),
        'pace', '0', 'paced_at', int(now), 'told', '0', 'restores', '0', 'line_from', '0')
end
