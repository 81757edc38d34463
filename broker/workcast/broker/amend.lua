-- Changes the summary of a workcell whose log has no new line: its writer is gone, or its first lines were pruned.
-- Only while the broker has exactly what the relay has read, so any number of relays may run it.
--
-- KEYS feed, summary
-- ARGV workcell, epoch, origin, head, base, summary JSON, feed budget in entries
local feed, summary = KEYS[1], KEYS[2]
local workcell, epoch, origin, head, base, json = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]

local stored = redis.call('HMGET', summary, 'epoch', 'origin', 'head', 'base', 'json')
if stored[1] ~= epoch or stored[2] ~= origin or stored[3] ~= head then return 0 end
if stored[4] == base and stored[5] == json then return 0 end
if stored[4] and tonumber(stored[4]) > tonumber(base) then return 0 end -- pruned further than this relay has seen
redis.call('XTRIM', feed, 'MAXLEN', '~', ARGV[7]) -- first: at maxmemory it is allowed, and so is then what follows
redis.call('HSET', summary, 'base', base, 'json', json)
-- A notice: gateways fetch the summary of the workcell that it names.
redis.call('XADD', feed, '*', 'w', workcell, 'e', '0', 'o', '0', 'd', '')
return 1
