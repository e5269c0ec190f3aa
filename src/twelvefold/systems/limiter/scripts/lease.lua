-- One node's lease on one key: it takes the next slice, and keeps or gives back what it did not use.
-- KEYS: state, leases (hash: holder -> fence:units:expiry:mark), then the states of earlier forms.
-- ARGV[1]: msgpack {definitions, holder, fence, unused, need, want, ttl, debt, life, keeps}.
-- Answers {now, fence, granted, ttl, remaining, reset, retry, outstanding, kept}.
local job = cmsgpack.unpack(ARGV[1])
local defs, holder, fence, unused, need = job[1], job[2], job[3], job[4], job[5]
local want, ttl, debt, life, keeps = job[6], job[7], job[8], job[9], job[10]
local d = defs[1]
local kind = d[1]

local raw = kind ~= LOG and call('GET', KEYS[1]) or false
load_state(1, d, raw)
if not raw and (kind ~= LOG or st[1] == 0) then
  for j = 3, #KEYS do
    local old_raw = defs[j - 1][1] ~= LOG and call('GET', KEYS[j]) or false
    if inherit(1, d, j, defs[j - 1], old_raw) then break end
  end
end

-- Units of a window that has passed are gone with it; units of a log leave under their own moment.
local function give_back(units, mark)
  if units <= 0 then return end
  if kind == FIXED then
    if tonumber(mark) == st[1] then give(1, d, units) end
  elseif kind == COUNTER then
    if tonumber(mark) == st[1] then
      give(1, d, units)
    elseif tonumber(mark) == st[1] - d[5] then
      st2[1] = max(0, st2[1] - units)
    end
  elseif kind == LOG then
    st[1] = max(0, st[1] - call('LREM', KEYS[1], -units, mark))
  else
    give(1, d, units)
  end
end

local outstanding, last_fence, kept = 0, 0, 0
local held = call('HGETALL', KEYS[2])
for j = 1, #held, 2 do
  local f, units, expiry, mark = string.match(held[j + 1], '^(%d+):(%d+):(%d+):(%d+)$')
  f, units, expiry = tonumber(f), tonumber(units), tonumber(expiry)
  if held[j] == holder then
    -- Another fence: the grant's reply was lost, so none of it was used.
    if f ~= fence then
      give_back(units, mark)
    elseif keeps == 1 and expiry > now then
      kept = min(unused, units)
    else
      give_back(min(unused, units), mark)
    end
    last_fence = f
    call('HDEL', KEYS[2], holder)
  elseif expiry <= now then
    give_back(units, mark)
    call('HDEL', KEYS[2], held[j])
  else
    outstanding = outstanding + units
  end
end

if debt > 0 then
  local _, left = judge(1, d, 0)
  take(1, d, min(debt, left))
end

local _, remaining, reset, retry = judge(1, d, need)
local granted = 0
if want > 0 and d[4] > 0 then
  local _, spare = judge(1, d, 0)
  -- Half of what is there at most, so that others find something too.
  granted = min(want, max(need, floor_div(spare, 2)), spare)
  if granted < need then granted = 0 end
end
if granted + kept > 0 then
  if granted > 0 then take(1, d, granted) end
  if kind == FIXED then
    local _, finish = window(d)
    ttl = min(ttl, finish - now)
  end
  fence = max(now, last_fence + 1)
  local mark = kind == BUCKET and 0 or kind == LOG and now or st[1]
  call('HSET', KEYS[2], holder, format('%.0f:%.0f:%.0f:%.0f', fence, granted + kept, now + ttl, mark))
  outstanding = outstanding + granted + kept
  _, remaining, reset = judge(1, d, 0)
end
keep(1, d)
if outstanding > 0 then call('PEXPIREAT', KEYS[2], floor_div(now + ttl + life, 1000) + 1000) end
return { now, fence, granted, ttl, remaining, reset, granted > 0 and 0 or retry, outstanding, kept }
