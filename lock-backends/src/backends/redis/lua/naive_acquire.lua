for slot = 2, #KEYS do
  if redis.call('SET', KEYS[slot], '0:' .. ARGV[1] .. ARGV[3], 'NX', 'PX', ARGV[2]) then return {slot - 2, '0'} end
end
local left = redis.call('PTTL', KEYS[2])
for slot = 3, #KEYS do left = math.min(left, redis.call('PTTL', KEYS[slot])) end
return left
