-- Appends records, all or none, unless the batch is here already or the topic would pass its bounds.
-- KEYS: the stream, its size in bytes, the publisher's last sequence.
-- ARGV: most records, most bytes, sequence or '', seconds to remember it, the records.
local sequence = tonumber(ARGV[3])
if sequence and sequence <= tonumber(redis.call('GET', KEYS[3]) or 0) then
  redis.call('EXPIRE', KEYS[3], ARGV[4]) -- a write, so that WAITAOF waits for the file up to here
  return {}
end
local count, added = #ARGV - 4, 0
for i = 5, #ARGV do
  added = added + #ARGV[i]
end
local length, size = redis.call('XLEN', KEYS[1]), tonumber(redis.call('GET', KEYS[2]) or 0)
if length + count > tonumber(ARGV[1]) or size + added > tonumber(ARGV[2]) then
  return redis.error_reply('TOPICFULL it holds ' .. length .. ' records in ' .. size .. ' bytes')
end
redis.call('INCRBY', KEYS[2], added)
if sequence then
  redis.call('SET', KEYS[3], ARGV[3], 'EX', ARGV[4])
end
local positions = {}
for i = 5, #ARGV do
  positions[i - 4] = redis.call('XADD', KEYS[1], '*', 'd', ARGV[i])
end
return positions
