local released = 0
for lock = 3, #KEYS do
  if token_of(redis.call('GET', KEYS[lock]), ARGV[1]) then
    pass(KEYS[lock], KEYS[2], KEYS[1], ARGV[2])
    released = released + 1
  end
end
if released == 0 then
  for _, member in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
    local owner = string.find(member, ' ', 1, true) + 1
    if string.sub(member, owner, owner + #ARGV[1] - 1) == ARGV[1] then redis.call('ZREM', KEYS[2], member) end
  end
end
return released
