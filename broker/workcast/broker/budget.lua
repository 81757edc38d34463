-- Keeps the windows of all workcells within their budget, those of other relays too.
--
-- KEYS windows, sizes, workcells
-- ARGV prefix of a stream's key, the budget from now on or '', '1' to measure all windows, bytes to cut them to or '',
--      the budget if none was ever set
-- Returns the bytes of all windows before and after, and how many were cut.
local windows, sizes, workcells = KEYS[1], KEYS[2], KEYS[3]
local prefix = ARGV[1]

redis.call('ZREM', windows, '') -- after a command that is allowed at maxmemory, the ones that follow are too
if ARGV[2] ~= '' then redis.call('HSET', sizes, '*budget', ARGV[2]) end
if ARGV[3] == '1' then
  local active = redis.call('ZRANGE', workcells, 0, -1, 'WITHSCORES')
  for i = 1, #active, 2 do -- those of relays that keep no account
    if redis.call('EXISTS', prefix .. active[i]) == 1 then
      redis.call('ZADD', windows, 'NX', active[i + 1], active[i])
    end
  end
  local kept = redis.call('HMGET', sizes, '*budget', '*feed')
  redis.call('UNLINK', sizes)
  if kept[1] then redis.call('HSET', sizes, '*budget', kept[1]) end
  if kept[2] then redis.call('HSET', sizes, '*feed', kept[2]) end
  for _, workcell in ipairs(redis.call('ZRANGE', windows, 0, -1)) do
    local stream = prefix .. workcell
    if redis.call('EXISTS', stream) == 1 and redis.call('XLEN', stream) > 0 then
      local size = measure(stream)
      record_size(sizes, workcell, 0, size)
    else
      redis.call('ZREM', windows, workcell) -- expired, removed, or emptied
    end
  end
end
local before = tonumber(redis.call('HGET', sizes, '*total') or 0)
local goal = tonumber(ARGV[4])
if not goal then
  local budget = tonumber(redis.call('HGET', sizes, '*budget') or ARGV[5])
  goal = before > budget and math.floor(budget * 7 / 8) or budget
end
local after, count = cut_windows(windows, sizes, prefix, goal)
return {text(before), text(after), count}
