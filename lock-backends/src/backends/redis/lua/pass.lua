local function pass(lock, line, doing, fence, claim)
  while true do
    local first = redis.call('ZPOPMIN', line)[1]
    if not first then
      redis.call('DEL', lock)
      return
    end
    local channel, owner = string.match(first, '^(%S+) (.*)$')
    local description = redis.call('HGET', doing, owner)
    if description then redis.call('HDEL', doing, owner) end
    local token, now = draw(fence)
    local message = token .. ':' .. string.format('%.0f', now) .. ':' .. owner .. lock
    redis.call('SET', lock, token .. ':' .. owner .. (description or ''), 'PX', claim)
    if redis.call('PUBLISH', channel, message) > 0 then return end
  end
end
