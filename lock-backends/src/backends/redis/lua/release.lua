local released = 0
for _, key in ipairs(KEYS) do
  if token_of(redis.call('GET', key), ARGV[1]) then
    redis.call('DEL', key)
    if ARGV[2] then redis.call('PUBLISH', ARGV[2], '') end
    released = released + 1
  end
end
return released
