local held = {}
for i, key in ipairs(KEYS) do
  local token = token_of(held_by(key), ARGV[i + 1])
  held[i] = token and redis.call('PEXPIRE', key, ARGV[1]) or 0
end
local time = redis.call('TIME')
held[#held + 1] = time[1] * 1000000 + time[2]
return held
