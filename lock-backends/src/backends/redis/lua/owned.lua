local function token_of(held, head)
  local token = held and string.match(held, '^%d+')
  if token and string.sub(held, #token + 2, #token + 1 + #head) == head then return token end
end
-- What holds a key. That it holds nothing is for a primary to say: a primary that was demoted has nothing until it is sent all, and it
-- refuses this deletion of nothing, as it refuses every write.
local function held_by(key)
  local held = redis.call('GET', key)
  if not held then redis.call('DEL', key) end
  return held
end
