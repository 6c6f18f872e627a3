// The quarantine's scripts. KEYS: records (a stream), whole payloads by id, what was accepted of them by id, the bytes of it all, ids by
// delivery. None of them does much at once: whoever calls them calls again.

/** So many records one call lets go of at most: nobody else is served meanwhile. */
export const MAX_DROPPED = 500

/** Removes a record, with what stands beside it; its first field says what it takes. Returns how many bytes are left. */
const DROP = `
local function drop(row)
  local fields = row[2]
  redis.call('XDEL', KEYS[1], row[1])
  redis.call('HDEL', KEYS[2], row[1])
  local known = redis.call('HSTRLEN', KEYS[3], row[1])
  redis.call('HDEL', KEYS[3], row[1])
  if fields[3] == 'delivery' and redis.call('HGET', KEYS[5], fields[4]) == row[1] then redis.call('HDEL', KEYS[5], fields[4]) end
  local bytes = fields[1] == 'bytes' and tonumber(fields[2]) or 0
  return redis.call('DECRBY', KEYS[4], bytes + known)
end
local function limit(maxBytes, maxRecords)
  local size = tonumber(redis.call('GET', KEYS[4]) or '0')
  local records = redis.call('XLEN', KEYS[1])
  local lost = 0
  while lost < ${MAX_DROPPED} and records > 1 and (size > maxBytes or records > maxRecords) do
    size = drop(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1])
    records = records - 1
    lost = lost + 1
  end
  return lost
end`

/**
 * ARGV: bytes and records that there may be; then of each record its bytes without what was accepted, its whole payload where the record has not all of it, what was
 * accepted, the identity of its delivery, 1 if that may be a repeat (it is not kept twice then), how many fields and values, and these.
 * Returns how many were lost; the newest stays however large it is.
 */
export const ADD = `${DROP}
local at = 3
while at <= #ARGV do
  local bytes, whole, known, delivery, last = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], at + 5 + tonumber(ARGV[at + 5])
  if not (ARGV[at + 4] == '1' and redis.call('HEXISTS', KEYS[5], delivery) == 1) then
    local id = redis.call('XADD', KEYS[1], '*', 'bytes', bytes, 'delivery', delivery, unpack(ARGV, at + 6, last))
    if whole ~= '' then redis.call('HSET', KEYS[2], id, whole) end
    if known ~= '' then redis.call('HSET', KEYS[3], id, known) end
    if delivery ~= '' then redis.call('HSET', KEYS[5], delivery, id) end
    redis.call('INCRBY', KEYS[4], bytes + #known)
  end
  at = last + 1
end
return limit(tonumber(ARGV[1]), tonumber(ARGV[2]))`

/** ARGV: ids. */
export const REMOVE = `${DROP}
local removed = 0
for _, id in ipairs(ARGV) do
  local row = redis.call('XRANGE', KEYS[1], id, id)[1]
  if row then
    drop(row)
    removed = removed + 1
  end
end
return removed`

/** ARGV: id, what of it is accepted now. Only of a record that is still there. */
export const ACCEPTED = `
if #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 0 then return end
redis.call('INCRBY', KEYS[4], #ARGV[2] - redis.call('HSTRLEN', KEYS[3], ARGV[1]))
redis.call('HSET', KEYS[3], ARGV[1], ARGV[2])`

/** ARGV: bytes and records that there may be. */
export const LOSE = `${DROP}
return limit(tonumber(ARGV[1]), tonumber(ARGV[2]))`
