#!lua
-- seats/sweep: frees the seats of holds of one show whose deadline has come; looks at each again.
-- USES shard journal seats
-- KEYS state taken users free holds holders deadlines
-- ARGV concert show reservations
-- RETURNS done | idle
-- EVENT seats.lapsed
-- COST O(reservations)
local over = {}
for reservation in string.gmatch(reservations, '[^,]+') do
    local hold = read_hold(reservation)
    if not hold then
        redis.call('ZREM', deadlines, table.concat({concert, show, reservation}, '|'))
    elseif now >= hold.deadline then
        over[#over + 1] = hold
        fact('seats.lapsed', reservation)
    end
end
if #over == 0 then return {'idle'} end
append()
for _, hold in ipairs(over) do free_seats(hold) end
return commit()
