
-- lib/journal: a write that takes effect once. After the checks: fact(…), append(), the changes, commit().
-- KEYS journal ops order
-- ARGV op step origin gate asked fingerprint request
-- RETURNS done(seq hash at facts) | replayed(seq hash at fingerprint facts epoch) | late | busy
-- `ops` remembers what each operation came to; `order` lists them by age, so that they can be forgotten.
local function replay(record)
    local of, seq, hash, at, print, facts = string.match(record, '^(%d+)|(%d+)|(%x+)|(%d+)|([^|]*)|(.*)$')
    return {'replayed', seq, hash, at, print, facts, of}
end
local past = records[op .. '.' .. step] or redis.call('HGET', ops, op .. '.' .. step)
if past then return replay(past) end
-- Whoever slept since he looked the operation up must look again: its record may have been forgotten
-- meanwhile. Both are times of Redis' clock, which may be behind what the shard has seen.
if clock_now - tonumber(asked) > 600000 then return {'late'} end
if gate ~= '' and behind > tonumber(gate) then return {'busy'} end

local lines = {}
if request ~= '' then lines[1] = request end
local function fact(...)
    local fields = {...}
    for i = 1, #fields do
        if type(fields[i]) == 'number' then fields[i] = int(fields[i]) end
    end
    lines[#lines + 1] = table.concat(fields, '|')
end

-- First of all writes: the entry, chained to the last one. From here on nothing is checked any more.
local entry
local function append()
    local at, facts = int(now), table.concat(lines, '\n')
    local text = table.concat({shard[3], epoch, op, step, kind, at, facts}, '|')
    local hash = string.sub(redis.sha1hex(text), 1, 16)
    local id = redis.call('XADD', journal, epoch .. '-*', 'op', op, 'st', step, 'o', origin, 'k', kind,
        'at', at, 'f', facts, 'p', shard[3], 'h', hash)
    entry = {seq = string.match(id, '%d+$'), hash = hash, at = at, facts = facts}
    shard[3], written = hash, entry
end

-- The record of the operation, in `keep` as well where it is to stay longer.
local function commit(keep)
    local record = table.concat({epoch, entry.seq, entry.hash, entry.at, fingerprint, entry.facts}, '|')
    if keep then redis.call('HSET', keep, op, record) end
    records[op .. '.' .. step] = record
    recorded[#recorded + 1] = op .. '.' .. step
    return {'done', entry.seq, entry.hash, entry.at, entry.facts}
end
