-- Publishes a batch of one log's lines: dense, once, in one epoch. A batch without lines publishes the summary alone.
-- Every step is safe to repeat, because a script that fails half-way keeps its first half. Offsets are passed as
-- decimal strings: %.0f, never an exponent.
--
-- KEYS feed, stream, summary, workcells
-- ARGV workcell, epoch, origin, replaced epoch or '', '1' if the batch begins a window, offset of the first line,
--      number of lines, base, first offset to keep in the stream, now (ms), lifetime of an idle stream (ms),
--      feed budget in entries, feed budget in bytes, offset after the last line, summary JSON or '',
--      then for each line: CRC-32, wire bytes
local feed, stream, summary, workcells = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
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
if head and ARGV[5] == '1' and first > head and head < tonumber(ARGV[8]) then
  redis.call('UNLINK', stream) -- the log was pruned beyond all that is in here: nothing can follow it densely
  head = nil
end
if not head and ARGV[5] ~= '1' then return {'empty'} end
if head and first > head then return {'gap', string.format('%.0f', head)} end

-- Trim before writing: at maxmemory a trim is allowed and makes the room that the writes need.
redis.call('XTRIM', stream, 'MINID', '~', epoch .. '-' .. string.format('%.0f', keep + 1))
redis.call('XTRIM', feed, 'MAXLEN', '~', ARGV[12])
local size = redis.call('MEMORY', 'USAGE', feed, 'SAMPLES', 4)
if size and size > tonumber(ARGV[13]) then
  local length = redis.call('XLEN', feed)
  redis.call('XTRIM', feed, 'MAXLEN', '~', string.format('%.0f', math.floor(length * tonumber(ARGV[13]) / size)))
end

if not stored[1] then redis.call('HSET', summary, 'epoch', epoch, 'origin', origin) end
local skip = head and math.min(head - first, count) or 0
for i = skip + 1, count do
  redis.call('XADD', feed, '*', 'w', workcell, 'e', epoch, 'o', string.format('%.0f', first + i - 1),
    'd', ARGV[15 + 2 * i])
end
for i = skip + 1, count do
  local added = redis.pcall('XADD', stream, epoch .. '-' .. string.format('%.0f', first + i),
    'c', ARGV[14 + 2 * i], 'd', ARGV[15 + 2 * i])
  if type(added) == 'table' and added.err then
    if not string.find(added.err, 'equal or smaller', 1, true) then return added end
    redis.call('UNLINK', stream) -- its last entries were deleted, and it never takes their IDs again
    return {'empty'}
  end
end
redis.call('PEXPIRE', stream, ARGV[11])
if not stored[3] or finish > tonumber(stored[3]) then
  redis.call('HSET', summary, 'head', ARGV[14], 'base', ARGV[8])
  if ARGV[15] ~= '' then redis.call('HSET', summary, 'json', ARGV[15]) end
  redis.call('ZADD', workcells, ARGV[10], workcell)
  if count == 0 then -- a notice: gateways fetch the summary of the workcell that it names
    redis.call('XADD', feed, '*', 'w', workcell, 'e', '0', 'o', '0', 'd', '')
  end
end
return {'ok', string.format('%.0f', math.max(head or 0, first + count))}
