local function draw(fence)
  local time = redis.call('TIME')
  local now = time[1] * 1000000 + time[2]
  local token = string.format('%.0f', math.max((tonumber(redis.call('GET', fence)) or 0) + 1, now))
  redis.call('SET', fence, token)
  return token, now
end
