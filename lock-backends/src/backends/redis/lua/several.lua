local answers, key, at = {}, 2, 1
while at <= #ARGV do
  local kind, head, a, b, c, d = ARGV[at], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], ARGV[at + 5], ARGV[at + 6]
  local in_line = kind == 'ask' or kind == 'pass_on'
  local first = in_line and key + 2 or key
  local last = first + ARGV[at + 1] - 1
  local done, answer
  if kind == 'acquire' then
    done, answer = pcall(acquire, 1, first, last, head, a, b)
    at = at + 5
  elseif kind == 'release' then
    done, answer = pcall(release, first, last, head, a)
    at = at + 4
  elseif kind == 'ask' then
    done, answer = pcall(ask, 1, key, key + 1, first, last, head, a, b, c, d)
    at = at + 7
  else
    done, answer = pcall(pass_on, 1, key, key + 1, first, last, head, a, b)
    at = at + 5
  end
  if not done then
    local why = type(answer) == 'table' and answer.err or tostring(answer)
    if string.find(why, 'READONLY') or string.find(why, 'MASTERDOWN') then error(answer) end
    answer = why
  end
  answers[#answers + 1] = answer
  key = last + 1
end
return answers
