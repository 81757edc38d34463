-- Gives a workcell to another root: its log agrees with the stream, and the relays of the root that had it are silent.
-- Compares what the relay has read before it sets anything, so any number of relays may run it.
--
-- KEYS feed, summary, the presence of the root that had it
-- ARGV workcell, that root's origin, epoch, head, the new origin, feed budget in entries
local feed, summary, presence = KEYS[1], KEYS[2], KEYS[3]

local stored = redis.call('HMGET', summary, 'origin', 'epoch', 'head')
if stored[1] ~= ARGV[2] or stored[2] ~= ARGV[3] or stored[3] ~= ARGV[4] then return 0 end
if redis.call('EXISTS', presence) == 1 then return 0 end
redis.call('XTRIM', feed, 'MAXLEN', '~', ARGV[6]) -- first: at maxmemory it is allowed, and so is then what follows
redis.call('HSET', summary, 'origin', ARGV[5])
-- A notice: gateways fetch the summary of the workcell that it names.
redis.call('XADD', feed, '*', 'w', ARGV[1], 'e', '0', 'o', '0', 'd', '')
return 1
