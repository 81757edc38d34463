-- Publishes the summaries of ended logs that the broker does not have. Every step is safe to repeat.
--
-- KEYS feed, workcells, then for each log: stream, summary
-- ARGV origin, now (ms), feed budget in entries, then for each log: workcell, epoch, base, head, summary JSON
-- Returns for each log whether the broker has exactly this now: 1, or 0 if it has something else.
local feed, workcells = KEYS[1], KEYS[2]
local origin, now = ARGV[1], ARGV[2]

redis.call('XTRIM', feed, 'MAXLEN', '~', ARGV[3]) -- first: at maxmemory it is allowed, and so is then what follows
local answers = {}
for i = 1, (#KEYS - 2) / 2 do
  local stream, summary, at = KEYS[2 * i + 1], KEYS[2 * i + 2], 5 * i - 2
  local workcell, epoch, base, head = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  if redis.call('EXISTS', stream, summary) == 0 then
    redis.call('HSET', summary, 'epoch', epoch, 'origin', origin, 'base', base, 'head', head, 'json', ARGV[at + 5])
    redis.call('ZADD', workcells, now, workcell)
    -- A notice: gateways fetch the summary of the workcell that it names.
    redis.call('XADD', feed, '*', 'w', workcell, 'e', '0', 'o', '0', 'd', '')
    answers[i] = 1
  else
    local stored = redis.call('HMGET', summary, 'epoch', 'origin', 'base', 'head')
    local same = stored[1] == epoch and stored[2] == origin and stored[3] == base and stored[4] == head
    answers[i] = same and redis.call('HEXISTS', summary, 'json') == 1 and 1 or 0
  end
end
return answers
