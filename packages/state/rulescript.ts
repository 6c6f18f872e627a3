// The change of the rules of a project as one step of Redis: documents, versions, shadows and what the judge is told of.

/**
 * All or nothing. ARGV: revision; how many rules there may be, versions of one and removed rules are kept, bytes of all versions; now;
 * prefixes of the lists of versions and of the logs of shadows; then for each change: name, document (empty: it goes), entry of the list of
 * versions, document for the judge, which clears the alarms of what goes. Versions are in the order in which they were saved, so that the
 * oldest of all rules go first; what was kept before that order was is not counted.
 * Answers the new revision, -1 when the rules are others meanwhile, -2 when alarms of a removed rule of one of the names still clear, -3
 * when there are too many.
 */
export const CHANGE = `
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[1] then return -1 end
local first = 9
local count = redis.call('HLEN', KEYS[1])
for i = first, #ARGV, 4 do
  if ARGV[i + 1] ~= '' and redis.call('HEXISTS', KEYS[3], ARGV[i]) == 1 then return -2 end
  if ARGV[i + 1] == '' then count = count - 1 else count = count + 1 - redis.call('HEXISTS', KEYS[1], ARGV[i]) end
end
if count > tonumber(ARGV[2]) then return -3 end
local revision = redis.call('INCR', KEYS[2])
local bytes = tonumber(redis.call('GET', KEYS[8]) or '0')
local function placeOf(name, entry)
  return name .. ' ' .. (string.match(entry, '"version":(%d+)') or '')
end
local function keep(name, entry)
  redis.call('LPUSH', ARGV[7] .. name, entry)
  if redis.call('ZADD', KEYS[7], revision, placeOf(name, entry)) == 1 then bytes = bytes + #entry end
end
local function dropOldest(name)
  local entry = redis.call('RPOP', ARGV[7] .. name)
  if entry and redis.call('ZREM', KEYS[7], placeOf(name, entry)) == 1 then bytes = bytes - #entry end
  return entry
end
for i = first, #ARGV, 4 do
  local name = ARGV[i]
  local versions = ARGV[7] .. name
  if redis.call('EXISTS', versions) == 0 and redis.call('HEXISTS', KEYS[1], name) == 1 then
    keep(name, redis.call('HGET', KEYS[1], name))
  end
  keep(name, ARGV[i + 2])
  while redis.call('LLEN', versions) > tonumber(ARGV[3]) do dropOldest(name) end
  if ARGV[i + 1] == '' then
    if redis.call('SISMEMBER', KEYS[4], name) == 1 then redis.call('HSET', KEYS[3], name, ARGV[i + 3]) end
    redis.call('HDEL', KEYS[1], name)
    redis.call('HDEL', KEYS[6], name)
    redis.call('DEL', ARGV[8] .. name)
    redis.call('ZADD', KEYS[5], ARGV[6], name)
  else
    redis.call('HSET', KEYS[1], name, ARGV[i + 1])
    redis.call('ZREM', KEYS[5], name)
  end
end
while redis.call('ZCARD', KEYS[5]) > tonumber(ARGV[4]) do
  local gone = redis.call('ZPOPMIN', KEYS[5])[1]
  while dropOldest(gone) do end
end
while bytes > tonumber(ARGV[5]) do
  local place = redis.call('ZRANGE', KEYS[7], 0, 0)[1]
  if not place then break end
  local name = string.match(place, '^(%S+)')
  -- What was kept before there was an order is older still.
  repeat local entry = dropOldest(name) until not entry or placeOf(name, entry) == place
  redis.call('ZREM', KEYS[7], place)
end
redis.call('SET', KEYS[8], bytes)
return revision`
