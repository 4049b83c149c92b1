-- wrk: each request is an order of another user, with a key of its own. USERS is a file of `onrush load-users`,
-- MENU what is ordered.
local users, sent = {}, 0
for line in io.lines(os.getenv("USERS")) do
    local _, token = line:match("^(%x[%x-]+),(.+)$")
    if token then
        users[#users + 1] = "Bearer " .. token
    end
end
local run, body = os.getenv("RUN"), '{"items":[{"menuId":"' .. os.getenv("MENU") .. '","quantity":1}]}'

function request()
    sent = sent + 1
    return wrk.format("POST", "/v1/orders", {
        ["Authorization"] = users[sent % #users + 1],
        ["Content-Type"] = "application/json",
        ["Idempotency-Key"] = run .. "-" .. sent,
    }, body)
end
