#!lua
-- seats/cancel: its owner gives a hold up before its deadline. `deadline` is the hold's, as Postgres has it.
-- USES shard journal seats
-- KEYS state taken users free holds holders deadlines
-- ARGV concert user reservation deadline
-- RETURNS done | hold_expired | reservation_closed | reservation_not_found
-- EVENT seats.cancelled
-- COST O(seats)
local hold = read_hold(reservation)
if not hold then
    return {now >= tonumber(deadline) and 'hold_expired' or 'reservation_closed'}
end
if hold.user ~= user then return {'reservation_not_found'} end
if now >= hold.deadline then return {'hold_expired'} end
fact('seats.cancelled', reservation)
append()
free_seats(hold)
return commit()
