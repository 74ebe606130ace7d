local function pass(lock, line, fence, claim)
  while true do
    local first = redis.call('ZPOPMIN', line)[1]
    if not first then
      redis.call('DEL', lock)
      return
    end
    local channel, value = string.match(first, '^(%S+) (.*)$')
    local length = string.match(value, '^%d+')
    local owner = string.sub(value, 1, #length + tonumber(length) + 2)
    local token, now = draw(fence)
    local message = token .. ':' .. string.format('%.0f', now) .. ':' .. owner .. lock
    redis.call('SET', lock, token .. ':' .. value, 'PX', claim)
    if redis.call('PUBLISH', channel, message) > 0 then return end
  end
end
