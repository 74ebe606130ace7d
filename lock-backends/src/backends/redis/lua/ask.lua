local free, left
for slot = 4, #KEYS do
  local held = redis.call('GET', KEYS[slot])
  local token = token_of(held, ARGV[1])
  if token then
    redis.call('PEXPIRE', KEYS[slot], ARGV[2])
    return {slot - 4, token}
  end
  if not held and not free then free = slot end
end
if free and redis.call('EXISTS', KEYS[2]) == 0 then
  local token = draw(KEYS[1])
  redis.call('SET', KEYS[free], token .. ':' .. ARGV[1] .. ARGV[4], 'PX', ARGV[2])
  return {free - 4, token}
end
if ARGV[5] then
  local member = ARGV[5] .. ' ' .. ARGV[1]
  if not redis.call('ZSCORE', KEYS[2], member) then
    local last = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')[2]
    redis.call('ZADD', KEYS[2], (last or 0) + 1, member)
    if ARGV[4] ~= '' then redis.call('HSET', KEYS[3], ARGV[1], ARGV[4]) end
  end
end
for slot = 4, #KEYS do
  if redis.call('EXISTS', KEYS[slot]) == 0 then pass(KEYS[slot], KEYS[2], KEYS[3], KEYS[1], ARGV[3]) end
  local ms = redis.call('PTTL', KEYS[slot])
  left = math.min(left or ms, ms)
end
local time = redis.call('TIME')
return {-1, left, time[1] * 1000000 + time[2]}
