
-- lib/journal: writes that take effect once. After the checks: fact(…), append(), the changes, commit().
-- KEYS journal ops past
-- ARGV origin gate asked
-- CALL op step fingerprint request
-- RETURNS done(seq hash at facts) | replayed(seq hash at fingerprint facts epoch) | late | busy
-- What each operation came to is in `ops`, or in `past` when it is older: its entry, and its facts where the
-- journal does not have them. Of one run: `records` likewise, `recorded` their names and texts in turn.
local op, step, fingerprint, request
local at, head, entry, lines = int(now), shard[3], nil, nil
local records, recorded = {}, {}
local function replay(record)
    local of, seq, hash, when, print, facts = string.match(record, '^(%d+)|(%d+)|(%x+)|(%d+)|([^|]*)|?(.*)$')
    if facts == '' then
        local found = redis.call('XRANGE', journal, of .. '-' .. seq, of .. '-' .. seq)[1]
        -- It was let go after Postgres had it for long: whoever asks is to look there.
        if not found then return {'late'} end
        for i = 1, #found[2], 2 do
            if found[2][i] == 'f' then facts = found[2][i + 1] end
        end
    end
    return {'replayed', seq, hash, when, print, facts, of}
end
-- Whether a call is over before it has begun. `known`: what its operation came to in an earlier run.
local function begin(known)
    local record = records[op .. '.' .. step] or known
    if record then return replay(record) end
    -- Whoever slept since he looked the operation up must look again: its record may have been forgotten
    -- meanwhile. Both are times of Redis' clock, which may be behind what the shard has seen.
    if clock_now - tonumber(asked) > 600000 then return {'late'} end
    if gate ~= '' and behind > tonumber(gate) then return {'busy'} end
    lines = request == '' and {} or {request}
end
local function fact(...)
    local fields = {...}
    for i = 1, #fields do
        if type(fields[i]) == 'number' then fields[i] = int(fields[i]) end
    end
    lines[#lines + 1] = table.concat(fields, '|')
end
-- First of all writes: the entry, chained to the last one. From here on nothing is checked any more.
local function append()
    local facts = table.concat(lines, '\n')
    local hash = string.sub(redis.sha1hex(table.concat({head, epoch, op, step, kind, at, facts}, '|')), 1, 16)
    local id = redis.call('XADD', journal, epoch .. '-*', 'op', op, 'st', step, 'o', origin, 'k', kind,
        'at', at, 'f', facts, 'p', head, 'h', hash)
    entry = {seq = string.match(id, '%d+$'), hash = hash, facts = facts}
    head = hash
end
-- The record of the operation, in `keep` as well, facts and all, where it is to stay longer.
local function commit(keep)
    local record = table.concat({epoch, entry.seq, entry.hash, at, fingerprint}, '|')
    if keep then redis.call('HSET', keep, op, record .. '|' .. entry.facts) end
    local name = op .. '.' .. step
    records[name] = record
    recorded[#recorded + 1] = name
    recorded[#recorded + 1] = record
    return {'done', entry.seq, entry.hash, at, entry.facts}
end
-- What the calls of a run leave behind, written when all have ended.
local function leave_records()
    if not entry then return end
    redis.call('HSET', ops, unpack(recorded))
    -- The head of the chain, last of all writes.
    redis.call('HSET', meta, 'pending_since', shard[5] or at, 'seen', at, 'last', entry.seq, 'head', head)
end
