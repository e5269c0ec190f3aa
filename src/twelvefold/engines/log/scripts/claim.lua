-- Gives a consumer records that were delivered and never committed; sets aside what came too often.
-- After the prelude erase. KEYS: the stream, its size in bytes, the stream of dead letters.
-- ARGV: group, consumer, least idle milliseconds, most records, most deliveries, most dead letters,
--       after which position ('-': from the first), the consumer whose records to take or ''.
-- Returns: position, data and deliveries of each; how many were set aside; how many found no room there.
local query = { 'XPENDING', KEYS[1], ARGV[1], 'IDLE', ARGV[3], ARGV[7], '+', ARGV[4] }
if ARGV[8] ~= '' then
  query[#query + 1] = ARGV[8]
end
local claimed, set_aside, stuck = {}, 0, 0
for _, pending in ipairs(redis.call(unpack(query))) do
  local position, deliveries = pending[1], pending[4]
  local found = redis.call('XRANGE', KEYS[1], position, position)[1]
  if not found then
    redis.call('XACK', KEYS[1], ARGV[1], position)
  elseif deliveries < tonumber(ARGV[5]) then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, position)
    claimed[#claimed + 1] = { position, found[2][2], deliveries + 1 }
  elseif redis.call('XLEN', KEYS[3]) >= tonumber(ARGV[6]) then
    stuck = stuck + 1
  else
    local data = found[2][2]
    redis.call('XADD', KEYS[3], '*', 'd', data, 'g', ARGV[1], 'o', position, 'n', deliveries)
    erase(position, #data)
    set_aside = set_aside + 1
  end
end
return { claimed, set_aside, stuck }
