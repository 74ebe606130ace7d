local function token_of(held, head)
  local token = held and string.match(held, '^%d+')
  if token and string.sub(held, #token + 2, #token + 1 + #head) == head then return token end
end
