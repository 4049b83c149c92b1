-- wrk: each request polls the place of another waiting ticket. The file of tickets comes in TICKETS.
local tickets, next_one = {}, 0
for ticket in io.lines(os.getenv("TICKETS")) do
    tickets[#tickets + 1] = { ["Queue-Token"] = ticket }
end
local path = os.getenv("POLL_PATH")

function request()
    next_one = next_one % #tickets + 1
    return wrk.format("GET", path, tickets[next_one])
end
