
-- lib/reads: a run of many calls of a script that changes nothing. Named after lib/shard, it comes last:
-- what the script itself asks for stands in one packed argument a call; the answers are packed likewise.
-- ARGV calls...
local answers = {'many'}
for i = calls_from, #ARGV do
    answers[#answers + 1] = cmsgpack.pack(call(unpack(cmsgpack.unpack(ARGV[i]))))
end
return answers
