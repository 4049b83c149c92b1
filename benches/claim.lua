-- wrk: each request claims a coupon of one campaign for another user, with a key of its own. USERS is a file
-- of `onrush load-users`, CLAIM_PATH names the campaign; where nothing of it is left, all are refused.
local users, sent = {}, 0
for line in io.lines(os.getenv("USERS")) do
    local _, token = line:match("^(%x[%x-]+),(.+)$")
    if token then
        users[#users + 1] = "Bearer " .. token
    end
end
local run, path = os.getenv("RUN"), os.getenv("CLAIM_PATH")

function request()
    sent = sent + 1
    return wrk.format("POST", path, {
        ["Authorization"] = users[sent % #users + 1],
        ["Idempotency-Key"] = run .. "-" .. sent,
    })
end
