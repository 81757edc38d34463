-- Finds the ended logs of which the broker does not have exactly this.
--
-- KEYS summary of each log
-- ARGV origin, then for each log: epoch, base, head
-- Returns the places of those that differ, from 1.
local differing = {}
for i = 1, #KEYS do
  local stored = redis.call('HMGET', KEYS[i], 'epoch', 'base', 'head', 'origin')
  local at = 3 * i - 1
  if stored[1] ~= ARGV[at] or stored[2] ~= ARGV[at + 1] or stored[3] ~= ARGV[at + 2] or stored[4] ~= ARGV[1] then
    differing[#differing + 1] = i
  end
end
return differing
