-- Remember a destination unless something newer is known.
-- KEYS[1] the code's key; ARGV[1] value, its first 16 digits are the version; ARGV[2] life in milliseconds.
-- Returns 1 if it was kept, 0 if a newer version or a newer floor stood there.
local known = redis.call('GET', KEYS[1])
if known and tonumber(string.sub(known, 1, 16)) > tonumber(string.sub(ARGV[1], 1, 16)) then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
