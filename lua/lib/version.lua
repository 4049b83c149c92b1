
-- lib/version: may a thing of this version be changed? Needs the name expected: `*`, or versions between
-- commas.
local function conflict(version)
    if expected == '' then return 'version_required' end
    if expected == '*' or string.find(expected, ',' .. version .. ',', 1, true) then return nil end
    return 'version_conflict'
end
