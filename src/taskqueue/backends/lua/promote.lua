#!lua flags=allow-oom
-- Make ready what is due. Returns whether anything was, and the seconds until the next is due, or ''.
-- keys: meta progress scheduled due ready line suspects since
local was_due = promote()
if was_due then
  hint()
end
return {was_due and 1 or 0, next_due()}
