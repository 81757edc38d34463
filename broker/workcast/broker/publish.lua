-- Publishes a batch of one log's lines: dense, once, in one epoch. A batch without lines publishes the summary alone.
-- Every step is safe to repeat, because a script that fails half-way keeps its first half. Offsets are passed as
-- decimal strings: %.0f, never an exponent.
--
-- KEYS feed, stream, summary, workcells, windows, sizes (see windows.lua, which is put before this)
-- ARGV workcell, epoch, origin, replaced epoch or '', '1' if the batch begins a window, offset of the first line,
--      number of lines, base, first offset to keep in the stream, now (ms), lifetime of an idle stream (ms),
--      feed budget in entries, feed budget in bytes, offset after the last line, summary JSON or '',
--      budget of all windows in bytes if none was ever set, then for each line: CRC-32, wire bytes
local feed, stream, summary, workcells, windows, sizes = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local workcell, epoch, origin, replaced = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local first, count, keep = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[9])
local finish = tonumber(ARGV[14])

local stored = redis.call('HMGET', summary, 'epoch', 'origin', 'head')
if stored[2] and stored[2] ~= origin then return {'origin', stored[2]} end
if stored[1] and stored[1] ~= epoch then
  if stored[1] ~= replaced then return {'epoch', stored[1]} end
  redis.call('UNLINK', stream)
  redis.call('HDEL', summary, 'head', 'base', 'json', 'epoch')
  stored[1], stored[3] = false, false
end

-- The stream's head: its last ID, even when it was trimmed to nothing. An absent stream has none.
local head
local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)
if last[1] then
  head = last[1][1]
elseif redis.call('EXISTS', stream) == 1 then
  local info = redis.call('XINFO', 'STREAM', stream)
  for i = 1, #info, 2 do if info[i] == 'last-generated-id' then head = info[i + 1] end end
end
if head then
  local dash = string.find(head, '-', 1, true)
  if string.sub(head, 1, dash - 1) ~= epoch then
    redis.call('UNLINK', stream) -- a leftover of an epoch whose summary was lost
    head = nil
  else
    head = tonumber(string.sub(head, dash + 1))
  end
end
if head and ARGV[5] == '1' then
  local pruned = first > head and head < tonumber(ARGV[8]) -- the log was, beyond all that is in here
  local emptied = first < head and not last[1] -- to keep the budget; and it never takes the IDs of its entries again
  if pruned or emptied then
    redis.call('UNLINK', stream)
    head = nil
  end
end
if not head and ARGV[5] ~= '1' then return {'empty'} end
if head and first > head then return {'gap', text(head)} end

-- Trim before writing: at maxmemory a trim is allowed and makes the room that the writes need.
redis.call('XTRIM', stream, 'MINID', '~', epoch .. '-' .. text(keep + 1))
redis.call('XTRIM', feed, 'MAXLEN', '~', ARGV[12])
local skip = head and math.min(head - first, count) or 0
local added = count > skip and 4200 or 0 -- bytes, at most, that the lines take in a stream: a node is one of 4 KiB,
for i = skip + 1, count do -- or a large entry, after which the next one begins
  local size = #ARGV[16 + 2 * i]
  added = added + 128 + math.floor(1.25 * size) + (size > 2000 and 4200 or 0)
end
local known = redis.call('HMGET', sizes, workcell, '*feed', '*budget', '*total')
local feed_size = tonumber(known[2] or 0)
if added > 0 then
  local budget, more = tonumber(ARGV[13]), added + (count - skip) * (64 + #workcell)
  feed_size = feed_size + more
  if not known[2] or feed_size > budget then
    local size = measure(feed)
    if size + more > budget * 15 / 16 then size = cut_stream(feed, math.max(0, budget * 7 / 8 - more)) end
    feed_size = size + more
  end
end

if not stored[1] then redis.call('HSET', summary, 'epoch', epoch, 'origin', origin) end
for i = skip + 1, count do
  redis.call('XADD', feed, '*', 'w', workcell, 'e', epoch, 'o', text(first + i - 1),
    'd', ARGV[16 + 2 * i])
end
for i = skip + 1, count do
  local reply = redis.pcall('XADD', stream, epoch .. '-' .. text(first + i),
    'c', ARGV[15 + 2 * i], 'd', ARGV[16 + 2 * i])
  if type(reply) == 'table' and reply.err then
    if not string.find(reply.err, 'equal or smaller', 1, true) then return reply end
    redis.call('UNLINK', stream) -- its last entries were deleted, and it never takes their IDs again
    return {'empty'}
  end
end
if added > 0 then
  local before, measured, used = parse_size(known[1])
  local most = before + added
  if not head or not known[1] or most > measured + math.max(2 ^ 16, measured / 8) then
    measured = measure(stream)
    most = measured
  end
  local total = tonumber(known[4] or 0) + most - before
  if not head or math.abs(ARGV[10] - used) > 1000 then
    redis.call('ZADD', windows, server_ms(), workcell)
    redis.call('PEXPIRE', stream, ARGV[11])
    used = ARGV[10]
  end
  redis.call('HSET', sizes, '*feed', text(feed_size), '*total', text(total),
    workcell, string.format('%.0f %.0f %.0f', most, measured, used))
  local budget = tonumber(known[3] or ARGV[16])
  if total > budget then
    cut_windows(windows, sizes, string.sub(stream, 1, #stream - #workcell), math.floor(budget * 7 / 8))
  end
end
if not stored[3] or finish > tonumber(stored[3]) then
  redis.call('HSET', summary, 'head', ARGV[14], 'base', ARGV[8])
  if ARGV[15] ~= '' then redis.call('HSET', summary, 'json', ARGV[15]) end
  redis.call('ZADD', workcells, ARGV[10], workcell)
  if count == 0 then -- a notice: gateways fetch the summary of the workcell that it names
    redis.call('XADD', feed, '*', 'w', workcell, 'e', '0', 'o', '0', 'd', '')
  end
end
return {'ok', text(math.max(head or 0, first + count))}
