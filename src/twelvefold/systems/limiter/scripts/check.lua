-- Many checks in one call. Each debits all of its rules or none that refuses.
-- ARGV[1]: msgpack {definitions, keys, checks}.
--   keys:   for each key with more to it: {key, definition, ban key or 0, previous key, its definition, …}
--   checks: flat: number of hits, then for each hit: key, definition, cost (below 0: give back)
-- Answers msgpack, flat: now, then for each hit: allowed (0, 1), remaining, reset, retry in microseconds.
local job = cmsgpack.unpack(ARGV[1])
local defs, extras, checks = job[1], job[2], job[3]
local raw = call('MGET', unpack(KEYS))
local of, dirty, ban = {}, {}, {}
local bans = false

for _, extra in ipairs(extras) do
  local i, d = extra[1], defs[extra[2]]
  load_state(i, d, raw[i])
  of[i] = d
  if extra[3] > 0 then
    bans = true
    local until_ = raw[extra[3]]
    ban[i] = { extra[3], until_ and tonumber(until_) or 0 }
  end
  if not raw[i] and (d[1] ~= LOG or st[i] == 0) then
    for j = 4, #extra, 2 do
      if inherit(i, d, extra[j], defs[extra[j + 1]], raw[extra[j]]) then
        dirty[i] = true
        break
      end
    end
  end
end

-- The commonest check written out: one bucket whose tokens take whole microseconds. `fast` remembers the
-- new state of its keys; they are written as they stand.
local fast = {}
local has_extras = #extras > 0

local out, n, at = { now }, 1, 1
local total = #checks
while at <= total do
  local hits = checks[at]
  local i, d, cost = checks[at + 1], defs[checks[at + 2]], checks[at + 3]
  while hits == 1 and cost > 0 and d[1] == BUCKET and d[5] == 1 and cost <= d[4] and not has_extras and not of[i] do
    local interval, tolerance = d[6], d[8]
    local ahead = fast[i]
    if not ahead then
      local known = raw[i]
      ahead = known and numbers(known) - now or 0
      if ahead < 0 then ahead = 0 elseif ahead > tolerance then ahead = tolerance end
    end
    local after = ahead + cost * interval
    local over = after - tolerance
    if over <= 0 then
      fast[i] = after
      over = -over
      out[n + 1], out[n + 2], out[n + 3], out[n + 4] = 1, (over - over % interval) / interval, after, 0
    else
      local spare = tolerance - ahead
      out[n + 1], out[n + 2], out[n + 3], out[n + 4] = 0, (spare - spare % interval) / interval, ahead, over
    end
    n, at = n + 4, at + 4
    if at > total then break end
    hits, i, d, cost = checks[at], checks[at + 1], defs[checks[at + 2]], checks[at + 3]
  end
  if at > total then break end
  local first = at + 1
  at = first + 3 * hits
  local passes = true
  local begin = n
  for h = first, at - 1, 3 do
    local i, d, cost = checks[h], defs[checks[h + 1]], checks[h + 2]
    if not of[i] then
      load_state(i, d, fast[i] and now + fast[i] or raw[i])
      if fast[i] then
        fast[i] = nil
        dirty[i] = true
      end
      of[i] = d
    end
    if cost < 0 then
      give(i, d, -cost)
      dirty[i] = true
      cost = 0
    end
    local allowed, remaining, reset, retry = judge(i, d, cost)
    if bans and ban[i] then
      local left = ban[i][2] - now
      if left > 0 or (not allowed and cost > 0 and retry >= 0) then
        if cost > 0 then
          ban[i][2] = now + d[3]
          ban[i][3] = true
          left = d[3]
        end
        allowed, remaining, retry = false, 0, max(retry, left)
      end
    end
    if not allowed and d[2] == 1 then passes = false end
    out[n + 1], out[n + 2], out[n + 3], out[n + 4] = allowed and 1 or 0, remaining, reset, retry
    n = n + 4
  end
  if passes then
    local slot = begin
    for h = first, at - 1, 3 do
      local cost = checks[h + 2]
      if cost > 0 and out[slot + 1] == 1 then
        take(checks[h], defs[checks[h + 1]], cost)
        dirty[checks[h]] = true
      end
      slot = slot + 4
    end
  elseif hits > 1 then
    -- Nothing was taken: say what is left, not what would have been.
    local slot = begin
    for h = first, at - 1, 3 do
      if out[slot + 1] == 1 and checks[h + 2] > 0 then
        local _, remaining, reset = judge(checks[h], defs[checks[h + 1]], 0)
        out[slot + 2], out[slot + 3] = remaining, reset
      end
      slot = slot + 4
    end
  end
end

for i, ahead in pairs(fast) do
  local q = now + ahead
  call('SET', KEYS[i], pack_state('>I7', q), 'PXAT', (q - q % 1000) / 1000 + 1)
end
for i in pairs(dirty) do keep(i, of[i]) end
if bans then
  for _, b in pairs(ban) do
    if b[3] then call('SET', KEYS[b[1]], b[2], 'PXAT', floor_div(b[2], 1000) + 1) end
  end
end
return cmsgpack.pack(out)
