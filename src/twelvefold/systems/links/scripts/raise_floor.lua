-- Forget what is remembered below a version, and refuse late refills below it while the floor stands.
-- KEYS[1] the code's key; ARGV[1] floor value, its first 16 digits are the version; ARGV[2] life in milliseconds.
local known = redis.call('GET', KEYS[1])
if not known or tonumber(string.sub(known, 1, 16)) < tonumber(string.sub(ARGV[1], 1, 16)) then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return 1
