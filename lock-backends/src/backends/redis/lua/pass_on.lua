local function pass_on(fence, line, doing, first, last, head, claim, channel)
  local released = 0
  for lock = first, last do
    if token_of(redis.call('GET', KEYS[lock]), head) then
      pass(KEYS[lock], KEYS[line], KEYS[doing], KEYS[fence], claim)
      released = released + 1
    end
  end
  if released == 0 and redis.call('ZREM', KEYS[line], channel .. ' ' .. head) == 1 then
    redis.call('HDEL', KEYS[doing], head)
  end
  return released
end
