-- Changes the summary of a workcell although its log has no new line: for what is not in the log, as that its writer is
-- gone. Only while the broker has exactly what the relay has looked at, so any number of relays may do it.
--
-- KEYS feed, stream, summary
-- ARGV workcell, epoch, origin, head, summary JSON, feed budget in entries
local feed, stream, summary = KEYS[1], KEYS[2], KEYS[3]
local workcell, epoch, origin, head, json = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

local stored = redis.call('HMGET', summary, 'epoch', 'origin', 'head', 'json')
if stored[1] ~= epoch or stored[2] ~= origin or stored[3] ~= head or stored[4] == json then return 0 end
redis.call('HSET', summary, 'json', json)
-- Gateways fetch a summary when the feed tells of its workcell. The newest event once more is nothing new to them.
local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)
if last[1] and last[1][1] == epoch .. '-' .. head then
  redis.call('XADD', feed, 'MAXLEN', '~', ARGV[6], '*', 'w', workcell, 'e', epoch,
    'o', string.format('%.0f', tonumber(head) - 1), 'd', last[1][2][4])
end
return 1
