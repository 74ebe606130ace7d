local released = 0
for lock = 4, #KEYS do
  if token_of(redis.call('GET', KEYS[lock]), ARGV[1]) then
    pass(KEYS[lock], KEYS[2], KEYS[3], KEYS[1], ARGV[2])
    released = released + 1
  end
end
if released == 0 and redis.call('ZREM', KEYS[2], ARGV[3] .. ' ' .. ARGV[1]) == 1 then
  redis.call('HDEL', KEYS[3], ARGV[1])
end
return released
