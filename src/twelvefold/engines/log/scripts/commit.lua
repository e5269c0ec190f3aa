-- Acknowledges records for a group, and erases those that no other group needs. After the prelude erase.
-- KEYS: the stream, its size in bytes. ARGV: the group, then position and size in bytes of each record.
for i = 2, #ARGV, 2 do
  erase(ARGV[i], ARGV[i + 1])
end
