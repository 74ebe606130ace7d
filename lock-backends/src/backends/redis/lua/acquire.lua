local free
for slot = 2, #KEYS do
  local held = redis.call('GET', KEYS[slot])
  local token = token_of(held, ARGV[1])
  if token then
    redis.call('PEXPIRE', KEYS[slot], ARGV[2])
    return {slot - 2, token}
  end
  if not held and not free then free = slot end
end
if free then
  local token = draw(KEYS[1])
  redis.call('SET', KEYS[free], token .. ':' .. ARGV[1] .. ARGV[3], 'PX', ARGV[2])
  return {free - 2, token}
end
local left = redis.call('PTTL', KEYS[2])
for slot = 3, #KEYS do left = math.min(left, redis.call('PTTL', KEYS[slot])) end
return left
