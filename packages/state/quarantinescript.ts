// The quarantine's scripts. KEYS: records (a stream), whole payloads by id, what was accepted of them by id, the bytes of it all.

/** Removes a record, with what stands beside it; its first field says what it takes. Returns how many bytes are left. */
const DROP = `
local function drop(row)
  redis.call('XDEL', KEYS[1], row[1])
  redis.call('HDEL', KEYS[2], row[1])
  redis.call('HDEL', KEYS[3], row[1])
  local bytes = row[2][1] == 'bytes' and tonumber(row[2][2]) or 0
  return redis.call('DECRBY', KEYS[4], bytes)
end
local function limit(size, maxBytes, maxRecords, newest)
  local lost = 0
  while size > maxBytes or redis.call('XLEN', KEYS[1]) > maxRecords do
    local row = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
    if not row or row[1] == newest then break end
    size = drop(row)
    lost = lost + 1
  end
  return lost
end`

/** ARGV: bytes and records that there may be, bytes of this one, its whole payload where the record has not all of it, what was accepted, fields. */
export const ADD = `${DROP}
local id = redis.call('XADD', KEYS[1], '*', 'bytes', ARGV[3], unpack(ARGV, 6))
if ARGV[4] ~= '' then redis.call('HSET', KEYS[2], id, ARGV[4]) end
if ARGV[5] ~= '' then redis.call('HSET', KEYS[3], id, ARGV[5]) end
return limit(redis.call('INCRBY', KEYS[4], ARGV[3]), tonumber(ARGV[1]), tonumber(ARGV[2]), id)`

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

/** ARGV: bytes and records that there may be. */
export const LOSE = `${DROP}
return limit(tonumber(redis.call('GET', KEYS[4]) or '0'), tonumber(ARGV[1]), tonumber(ARGV[2]), '')`
