-- Changes the summary of a workcell although its log has no new line: for what is not in the log, as that its writer is
-- gone, or that its first lines were pruned. Only while the broker has exactly what the relay has looked at, so any number of relays may do it.
--
-- KEYS feed, stream, summary
-- ARGV workcell, epoch, origin, head, base, summary JSON, feed budget in entries
local feed, stream, summary = KEYS[1], KEYS[2], KEYS[3]
local workcell, epoch, origin, head, base, json = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]

local stored = redis.call('HMGET', summary, 'epoch', 'origin', 'head', 'base', 'json')
if stored[1] ~= epoch or stored[2] ~= origin or stored[3] ~= head then return 0 end
if stored[4] == base and stored[5] == json then return 0 end
if stored[4] and tonumber(stored[4]) > tonumber(base) then return 0 end -- pruned further than this relay has seen
redis.call('HSET', summary, 'base', base, 'json', json)
-- Gateways fetch a summary when the feed tells of its workcell. The newest event once more is nothing new to them.
local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)
if last[1] and last[1][1] == epoch .. '-' .. head then
  redis.call('XADD', feed, 'MAXLEN', '~', ARGV[7], '*', 'w', workcell, 'e', epoch,
    'o', string.format('%.0f', tonumber(head) - 1), 'd', last[1][2][4])
end
return 1
