-- Removes a workcell whose directory is gone, with its stream and summary, if this root has published it.
--
-- KEYS feed, stream, summary, workcells, windows, sizes (see windows.lua, which is put before this)
-- ARGV workcell, origin, feed budget in entries
local feed, stream, summary, workcells = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local windows, sizes = KEYS[5], KEYS[6]
local workcell, origin = ARGV[1], ARGV[2]

if redis.call('HGET', summary, 'origin') ~= origin then return 0 end
redis.call('UNLINK', stream, summary)
redis.call('ZREM', workcells, workcell)
redis.call('ZREM', windows, workcell)
local size = parse_size(redis.call('HGET', sizes, workcell))
if size > 0 then record_size(sizes, workcell, size, 0) end
-- A notice: gateways fetch the summary, and find none.
redis.call('XADD', feed, 'MAXLEN', '~', ARGV[3], '*', 'w', workcell, 'e', '0', 'o', '0', 'd', '')
return 1
