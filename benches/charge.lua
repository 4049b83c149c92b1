-- wrk: each request charges another user, with a key of its own. USERS is a file of `onrush load-users`.
local users, sent = {}, 0
for line in io.lines(os.getenv("USERS")) do
    local user, token = line:match("^(%x[%x-]+),(.+)$")
    if user then
        users[#users + 1] = { path = "/v1/users/" .. user .. "/points/charge", bearer = "Bearer " .. token }
    end
end
local run = os.getenv("RUN")

function request()
    sent = sent + 1
    local user = users[sent % #users + 1]
    return wrk.format("POST", user.path, {
        ["Authorization"] = user.bearer,
        ["Content-Type"] = "application/json",
        ["Idempotency-Key"] = run .. "-" .. sent,
    }, '{"amount":100}')
end
