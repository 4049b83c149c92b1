
-- lib/records: what the calls of one run leave behind, written when all have ended. Comes with lib/journal.
-- `records`: operation and step -> what it came to; `recorded`: in order; `written`: the last entry.
local records, recorded, written = {}, {}, nil
local function leave_records()
    if not written then return end
    local fields = {}
    for i, name in ipairs(recorded) do fields[2 * i - 1], fields[2 * i] = name, records[name] end
    redis.call('HSET', ops, unpack(fields))
    redis.call('RPUSH', order, unpack(recorded))
    if not shard[5] then redis.call('HSET', meta, 'pending_since', written.at) end
    -- The head of the chain, last of all writes.
    redis.call('HSET', meta, 'seen', written.at, 'last', written.seq, 'head', written.hash)
end
