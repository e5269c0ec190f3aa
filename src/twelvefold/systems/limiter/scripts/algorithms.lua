-- The algorithms of rules/algorithms.py, over state in Valkey. Whole numbers only, all below 2^53.
-- A definition: {kind, enforced, penalty, capacity, numbers of the kind…}; see rules/plan.py, wire().
local BUCKET, FIXED, LOG, COUNTER = 1, 2, 3, 4
local floor, max, min = math.floor, math.max, math.min
local format = string.format
local pack_state, unpack_state = struct.pack, struct.unpack
local call = redis.call
local clock = call('TIME')
local now = clock[1] * 1000000 + clock[2]

local function ceil_div(a, b)
  local rest = a % b
  return (a - rest) / b + (rest > 0 and 1 or 0)
end

local function floor_div(a, b)
  return (a - a % b) / b
end

-- state of key i: st[i] and, for kinds with more numbers, st2[i], st3[i]
local st, st2, st3 = {}, {}, {}

-- A state is its numbers in seven bytes each. As decimal text Valkey makes an integer object of one, which takes
-- it 16 bytes more (measured on 9.1: 10M keys were 1.11 GB, and are 0.97 GB); text is also slower to make and read.
local function numbers(state)
  if type(state) == 'number' then return state, 0, 0 end
  local size = #state
  if size == 7 then return (unpack_state('>I7', state)), 0, 0 end
  if size == 14 then
    local a, b = unpack_state('>I7I7', state)
    return a, b, 0
  end
  local a, b, c = unpack_state('>I7I7I7', state)
  return a, b, c
end

local function window(d)
  local n = #d
  if n == 5 then
    local start = now - now % d[5]
    return start, start + d[5]
  end
  for i = n - 1, 7, -1 do
    if now >= d[i] then return d[i], d[i + 1] end
  end
  return d[6], d[7]
end

-- The head of a log is what has run out; taking it off changes nothing that anybody can see.
local function trim_log(key, d)
  local newest = call('LINDEX', key, -1)
  if not newest then return 0 end
  if tonumber(newest) > now then
    local count = call('LLEN', key)
    call('DEL', key)
    local left = count
    while left > 0 do
      local some = {}
      for j = 1, min(left, 1000) do some[j] = now end
      call('RPUSH', key, unpack(some))
      left = left - #some
    end
    call('PEXPIREAT', key, floor_div(now + d[5], 1000) + 1)
    return count
  end
  local horizon = now - d[5]
  while true do
    local oldest = call('LINDEX', key, 0)
    if not oldest then return 0 end
    if tonumber(oldest) > horizon then return call('LLEN', key) end
    call('LPOP', key)
  end
end

-- Read the state of key i as of now.
local function load_state(i, d, raw)
  local kind = d[1]
  if kind == BUCKET then
    if not raw then
      st[i], st2[i] = now, 0
    else
      local q, r = numbers(raw)
      if q < now then
        q, r = now, 0
      elseif q - now > d[8] or (q - now == d[8] and r > d[9]) then
        q, r = now + d[8], d[9]
      end
      st[i], st2[i] = q, r
    end
  elseif kind == FIXED then
    local start = window(d)
    local q, r = 0, 0
    if raw then q, r = numbers(raw) end
    st[i], st2[i] = start, q >= start and r or 0
  elseif kind == COUNTER then
    local start = now - now % d[5]
    local q, before, count = 0, 0, 0
    if raw then q, before, count = numbers(raw) end
    if q < start - d[5] then
      before, count = 0, 0
    elseif q < start then
      before, count = count, 0
    end
    st[i], st2[i], st3[i] = start, before, count
  elseif kind == LOG then
    st[i] = trim_log(KEYS[i], d)
    st2[i] = 0
  end
end

-- Whole tokens in a length of time of a bucket, exact although the quotient of two doubles may not be.
local function tokens_in(q, r, d)
  local scale = d[5]
  if scale == 1 then return floor_div(q, d[6]) end
  local guess = floor((q + r / scale) / (d[6] + d[7] / scale))
  for n = guess + 1, guess - 1, -1 do
    if n >= 0 then
      local rest = n * d[7]
      local whole = n * d[6] + floor_div(rest, scale)
      rest = rest % scale
      if whole < q or (whole == q and rest <= r) then return n end
    end
  end
  return max(guess - 1, 0)
end

-- The bucket of key i after `cost` more, and how far that is over: {q, r}, over
local function bucket_after(i, d, cost)
  local q, r = st[i] + cost * d[6], st2[i]
  local over = q - now - d[8]
  if d[5] > 1 then
    r = r + cost * d[7]
    q = q + floor_div(r, d[5])
    r = r % d[5]
    over = q - now - d[8]
    if r > d[9] then over = over + 1 end
  end
  return q, r, over
end

local function counter_retry(d, start, before, count, wanted)
  local period, step, steps, spare = d[5], d[6], d[7], d[4] - wanted
  if spare < 0 then return -1 end
  if before > 0 and spare >= count then
    local at = steps - floor_div((spare - count) * steps, before)
    if at < steps then return start + max(0, at) * step - now end
    return start + period - now
  end
  if count == 0 then return start + period - now end
  local at = max(0, steps - floor_div(spare * steps, count))
  return start + period + (at < steps and at * step or period) - now
end

-- allowed, remaining, reset, retry: what key i says to `cost` units, before anything is taken.
local function judge(i, d, cost)
  local kind, capacity = d[1], d[4]
  local wanted = cost > 0 and cost or 1
  if capacity == 0 then return false, 0, 0, -1 end
  if kind == BUCKET then
    local q, r, over
    if cost > capacity then
      over = 1
    else
      q, r, over = bucket_after(i, d, wanted)
    end
    local allowed = over <= 0
    if not allowed or cost == 0 then q, r = st[i], st2[i] end
    local gap, gap_r = d[8] - (q - now), d[9] - r
    if gap_r < 0 then gap, gap_r = gap - 1, gap_r + d[5] end
    return allowed, tokens_in(gap, gap_r, d), q - now + (r > 0 and 1 or 0), allowed and 0 or (cost > capacity and -1 or over)
  elseif kind == FIXED then
    local _, finish = window(d)
    local count = st2[i]
    local allowed = count + wanted <= capacity
    if allowed then count = count + cost end
    local left = finish - now
    return allowed, max(0, capacity - count), count > 0 and left or 0, allowed and 0 or (cost > capacity and -1 or left)
  elseif kind == COUNTER then
    local start, before, count = st[i], st2[i], st3[i]
    local steps = d[7]
    local left = steps - floor_div(now - start, d[6])
    local allowed = (count + wanted) * steps + before * left <= capacity * steps
    local after = allowed and count + cost or count
    local remaining = max(0, capacity - after - ceil_div(before * left, steps))
    local reset = 0
    if after > 0 then reset = start + 2 * d[5] - now elseif before > 0 then reset = start + d[5] - now end
    return allowed, remaining, reset, allowed and 0 or counter_retry(d, start, before, count, wanted)
  elseif kind == LOG then
    local count, period = st[i], d[5]
    local allowed = count + wanted <= capacity
    local after = allowed and count + cost or count
    local reset, retry = 0, 0
    if allowed and cost > 0 then
      reset = period
    elseif count > 0 then
      reset = (st2[i] > 0 and now or tonumber(call('LINDEX', KEYS[i], -1))) + period - now
    end
    if not allowed then
      if cost > capacity then
        retry = -1
      else
        -- Entries of this very call are not in the list yet; they are the newest, made now.
        local last = call('LINDEX', KEYS[i], count + wanted - capacity - 1)
        retry = (last and tonumber(last) or now) + period - now
      end
    end
    return allowed, max(0, capacity - after), reset, retry
  end
  return false, 0, 0, -1
end

-- Take `cost` units (not more than `judge` allowed).
local function take(i, d, cost)
  local kind = d[1]
  if kind == BUCKET then
    local q, r = bucket_after(i, d, cost)
    st[i], st2[i] = q, r
  elseif kind == FIXED then
    st2[i] = st2[i] + cost
  elseif kind == COUNTER then
    st3[i] = st3[i] + cost
  elseif kind == LOG then
    st[i] = st[i] + cost
    st2[i] = st2[i] + cost
  end
end

-- Give `cost` units back, at most what was taken.
local function give(i, d, cost)
  local kind = d[1]
  if kind == BUCKET then
    local n = min(cost, d[4])
    local rest = n * d[7]
    local q, r = st[i] - n * d[6] - floor_div(rest, d[5]), st2[i] - rest % d[5]
    if r < 0 then q, r = q - 1, r + d[5] end
    if q < now then q, r = now, 0 end
    st[i], st2[i] = q, r
  elseif kind == FIXED then
    st2[i] = max(0, st2[i] - cost)
  elseif kind == COUNTER then
    st3[i] = max(0, st3[i] - cost)
  elseif kind == LOG then
    local n = min(cost, st[i])
    local written = min(n, st[i] - st2[i])
    st[i] = st[i] - n
    st2[i] = st2[i] - (n - written)
    if written > 0 then call('LPOP', KEYS[i], written) end
  end
end

-- Units in use, rounded up.
local function used(i, d)
  local kind = d[1]
  if kind == BUCKET then
    local q, r = st[i] - now, st2[i]
    local whole = tokens_in(q, r, d)
    local rest = whole * d[7]
    local wq, wr = whole * d[6] + floor_div(rest, d[5]), rest % d[5]
    return (wq < q or (wq == q and wr < r)) and whole + 1 or whole
  elseif kind == FIXED then
    return st2[i]
  elseif kind == COUNTER then
    local left = d[7] - floor_div(now - st[i], d[6])
    return st3[i] + ceil_div(st2[i] * left, d[7])
  elseif kind == LOG then
    return st[i]
  end
  return 0
end

-- Write the state of key i. Its life is the time until no trace of it matters.
local function keep(i, d)
  local kind, key = d[1], KEYS[i]
  if kind == BUCKET then
    local q, r = st[i], st2[i]
    if q <= now and r == 0 then
      call('DEL', key)
    else
      call('SET', key, r > 0 and pack_state('>I7I7', q, r) or pack_state('>I7', q), 'PXAT', floor_div(q, 1000) + 1)
    end
  elseif kind == FIXED then
    if st2[i] > 0 then
      local start, finish = window(d)
      call('SET', key, pack_state('>I7I7', start, st2[i]), 'PXAT', floor_div(finish, 1000) + 1)
    else
      call('DEL', key)
    end
  elseif kind == COUNTER then
    if st2[i] > 0 or st3[i] > 0 then
      local last = st[i] + (st3[i] > 0 and 2 or 1) * d[5]
      call('SET', key, pack_state('>I7I7I7', st[i], st2[i], st3[i]), 'PXAT', floor_div(last, 1000) + 1)
    else
      call('DEL', key)
    end
  elseif kind == LOG then
    local left = st2[i]
    while left > 0 do
      local some = {}
      for j = 1, min(left, 1000) do some[j] = now end
      call('RPUSH', key, unpack(some))
      left = left - #some
    end
    if st2[i] > 0 then call('PEXPIREAT', key, floor_div(now + d[5], 1000) + 1) end
    st2[i] = 0
  end
end

-- A key that has no state yet may have had one under the rule's earlier form: what was used stays used.
local function inherit(i, d, old, old_d, old_raw)
  if old_d[1] == LOG then
    if call('EXISTS', KEYS[old]) == 0 then return false end
  elseif not old_raw then
    return false
  end
  load_state(old, old_d, old_raw)
  local units = min(used(old, old_d), d[4])
  call('DEL', KEYS[old])
  if units > 0 then take(i, d, units) end
  return units > 0
end
