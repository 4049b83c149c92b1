
-- lib/run: a run of many calls. Comes last in a script that journals: what lib/journal and the script itself
-- ask for each call stands in one packed argument; the answers are packed likewise.
-- ARGV calls...
local said, named = {}, {}
for i = calls_from, #ARGV do
    local parts = cmsgpack.unpack(ARGV[i])
    said[#said + 1], named[#named + 1] = parts, parts[1] .. '.' .. parts[2]
end
local lately, before = redis.call('HMGET', ops, unpack(named)), redis.call('HMGET', past, unpack(named))
local answers = {'many'}
for i, parts in ipairs(said) do
    op, step, fingerprint, request = unpack(parts, 1, 4)
    answers[i + 1] = cmsgpack.pack(begin(lately[i] or before[i]) or call(unpack(parts, 5)))
end
leave_records()
return answers
