-- wrk: each request uses another coupon, as the user whose it is. COUPONS is a file of `code,accessToken`;
-- where it has too few, a code comes again and is refused.
local coupons, headers, sent = {}, {}, 0
for line in io.lines(os.getenv("COUPONS")) do
    local code, token = line:match("^([^,]+),(.+)$")
    headers[token] = headers[token] or { ["Authorization"] = "Bearer " .. token }
    coupons[#coupons + 1] = { path = "/v1/coupons/" .. code .. "/use", headers = headers[token] }
end

function request()
    sent = sent + 1
    local coupon = coupons[sent % #coupons + 1]
    return wrk.format("PUT", coupon.path, coupon.headers)
end
