local function release(first, last, head, channel)
  local released = 0
  for lock = first, last do
    if token_of(held_by(KEYS[lock]), head) then
      redis.call('DEL', KEYS[lock])
      if channel and channel ~= '' then redis.call('PUBLISH', channel, '') end
      released = released + 1
    end
  end
  return released
end
