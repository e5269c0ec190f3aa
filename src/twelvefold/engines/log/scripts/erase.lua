-- Prelude of commit and claim: `erase` takes a record off a group, and out of the stream once no other
-- group needs it, that is, once every other group has read it and has it not pending.
local function is_after(a, b)
  local a_ms, a_seq = string.match(a, '(%d+)-(%d+)')
  local b_ms, b_seq = string.match(b, '(%d+)-(%d+)')
  a_ms, b_ms = tonumber(a_ms), tonumber(b_ms)
  return a_ms > b_ms or (a_ms == b_ms and tonumber(a_seq) > tonumber(b_seq))
end

local others = {}
local has_groups, groups = pcall(redis.call, 'XINFO', 'GROUPS', KEYS[1])
for _, group in ipairs(has_groups and groups or {}) do
  if group[2] ~= ARGV[1] then
    others[#others + 1] = { name = group[2], last = group[8] }
  end
end

local function erase(position, size)
  redis.call('XACK', KEYS[1], ARGV[1], position)
  for _, other in ipairs(others) do
    if is_after(position, other.last)
      or #redis.call('XPENDING', KEYS[1], other.name, position, position, 1) > 0 then
      return
    end
  end
  if redis.call('XDEL', KEYS[1], position) == 1 and redis.call('DECRBY', KEYS[2], size) <= 0 then
    redis.call('DEL', KEYS[2])
  end
end
