local function ask(fence, line, doing, first, last, head, ttl, claim, description, channel)
  local free, left
  for slot = first, last do
    local held = redis.call('GET', KEYS[slot])
    local token = token_of(held, head)
    if token then
      redis.call('PEXPIRE', KEYS[slot], ttl)
      return {slot - first, token}
    end
    if not held and not free then free = slot end
  end
  if free and redis.call('EXISTS', KEYS[line]) == 0 then
    local token = draw(KEYS[fence])
    redis.call('SET', KEYS[free], token .. ':' .. head .. description, 'PX', ttl)
    return {free - first, token}
  end
  if channel and channel ~= '' then
    local member = channel .. ' ' .. head
    if not redis.call('ZSCORE', KEYS[line], member) then
      local last_in_line = redis.call('ZRANGE', KEYS[line], -1, -1, 'WITHSCORES')[2]
      redis.call('ZADD', KEYS[line], (last_in_line or 0) + 1, member)
      if description ~= '' then redis.call('HSET', KEYS[doing], head, description) end
    end
  end
  for slot = first, last do
    if redis.call('EXISTS', KEYS[slot]) == 0 then pass(KEYS[slot], KEYS[line], KEYS[doing], KEYS[fence], claim) end
    local ms = redis.call('PTTL', KEYS[slot])
    left = math.min(left or ms, ms)
  end
  local time = redis.call('TIME')
  return {-1, left, time[1] * 1000000 + time[2]}
end
