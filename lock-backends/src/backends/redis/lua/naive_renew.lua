local held = {}
for i, key in ipairs(KEYS) do held[i] = redis.call('PEXPIRE', key, ARGV[1]) end
local time = redis.call('TIME')
held[#held + 1] = time[1] * 1000000 + time[2]
return held
