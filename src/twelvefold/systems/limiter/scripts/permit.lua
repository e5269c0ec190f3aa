-- Places among so many at once. KEYS[1]: sorted set of permit ids by the moment they end.
-- ARGV: verb (take, renew, free, look), id, limit, life in microseconds.
-- Answers {now, granted, in use, microseconds until the next place is sure to be free}.
local verb, id, limit, life = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local key = KEYS[1]
call('ZREMRANGEBYSCORE', key, '-inf', now)
local mine = id ~= '' and call('ZSCORE', key, id)
local granted = 0
if verb == 'free' then
  granted = call('ZREM', key, id)
elseif (verb == 'take' and (mine or call('ZCARD', key) < limit)) or (verb == 'renew' and mine) then
  call('ZADD', key, now + life, id)
  granted = 1
end
local count = call('ZCARD', key)
local wait = 0
if count > 0 then
  local newest = call('ZRANGE', key, -1, -1, 'WITHSCORES')
  call('PEXPIREAT', key, floor_div(tonumber(newest[2]), 1000) + 1000)
  if granted == 0 and count >= limit then
    local oldest = call('ZRANGE', key, 0, 0, 'WITHSCORES')
    wait = tonumber(oldest[2]) - now
  end
end
return { now, granted, count, wait }
