local function acquire(fence, first, last, head, ttl, description)
  local free
  for slot = first, last do
    local held = redis.call('GET', KEYS[slot])
    local token = token_of(held, head)
    if token then
      redis.call('PEXPIRE', KEYS[slot], ttl)
      return {slot - first, token}
    end
    if not held and not free then free = slot end
  end
  if free then
    local token = draw(KEYS[fence])
    redis.call('SET', KEYS[free], token .. ':' .. head .. description, 'PX', ttl)
    return {free - first, token}
  end
  local left = redis.call('PTTL', KEYS[first])
  for slot = first + 1, last do left = math.min(left, redis.call('PTTL', KEYS[slot])) end
  return left
end
