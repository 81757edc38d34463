-- What the windows of all workcells take, and how they are kept within a budget; put before the scripts that need it.
--
-- A window that was neither written nor watched for 15 s is idle. Idle windows, the least recently used first, are
-- emptied until all fit; if they still do not, the others, in the same order, are cut to an equal share of the budget.
-- A window loses its oldest entries only, and keeps its last ID, so what follows is published densely.
--
-- windows: sorted set of the workcells with a window, by the time of the last use (ms)
-- sizes: hash of "<bytes at most> <bytes as measured> <last use by the relay's clock, ms>" by workcell; '*total' is the
--        sum of the first, '*budget' the budget, '*feed' the feed's bytes at most. No workcell's id begins with '*'.
local IDLE_MS = 15000

local function text(number) return string.format('%.0f', number) end

local function server_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- Exact: an estimate from a few nodes may be wrong by a factor of 16.
local function measure(key) return redis.call('MEMORY', 'USAGE', key, 'SAMPLES', 0) or 0 end

local function parse_size(stored)
  local most, measured, used = string.match(stored or '', '^(%d+) (%d+) (%d+)$')
  return tonumber(most or 0), tonumber(measured or 0), tonumber(used or 0)
end

-- Records the size of a window, 0 if it has no entry, and returns the sum of all.
local function record_size(sizes, workcell, before, size)
  if size > 0 then
    redis.call('HSET', sizes, workcell, string.format('%.0f %.0f 0', size, size))
  else
    redis.call('HDEL', sizes, workcell)
  end
  return redis.call('HINCRBY', sizes, '*total', text(size - before))
end

-- Cuts a stream to about `share` bytes; returns its size, 0 if it has no entry left.
local function cut_stream(stream, share)
  local size = measure(stream)
  while size > share do
    local keep = math.floor(redis.call('XLEN', stream) * share / size)
    redis.call('XTRIM', stream, 'MAXLEN', text(keep))
    if keep == 0 then return 0 end
    size = measure(stream)
  end
  return size
end

-- Cuts windows until all together have at most `goal` bytes; returns their bytes, and how many were cut.
local function cut_windows(windows, sizes, prefix, goal)
  local total, count = tonumber(redis.call('HGET', sizes, '*total') or 0), 0
  if total <= goal then return total, 0 end
  local now, busy = server_ms(), {}
  local function cut(workcell, share)
    local size = cut_stream(prefix .. workcell, share)
    if size == 0 then redis.call('ZREM', windows, workcell) end
    local before = parse_size(redis.call('HGET', sizes, workcell))
    if size < before then count = count + 1 end
    total = record_size(sizes, workcell, before, size)
  end
  local found = redis.call('ZRANGE', windows, 0, -1, 'WITHSCORES')
  for i = 1, #found, 2 do
    if total <= goal then return total, count end
    if now - tonumber(found[i + 1]) < IDLE_MS then busy[#busy + 1] = found[i] else cut(found[i], 0) end
  end
  for _, workcell in ipairs(busy) do
    if total <= goal then break end
    cut(workcell, math.floor(goal / #busy))
  end
  return total, count
end
