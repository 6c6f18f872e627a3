// The second half of a turn (turnscript.ts, whose names it uses): the consumers of this process that can take more are given messages.

export const GIVE = `
local given, bytes, limit, most = {}, 0, tonumber(ARGV[1]), tonumber(ARGV[2])
local writes, owns, dues, dead = {}, {}, {}, 0
local all = sorted()
local active = ''
if kind == 'exclusive' or kind == 'failover' then
  active = all[1] and all[1].id or ''
  local only = {}
  for _, taker in ipairs(takers) do if taker.id == active then only[1] = taker end end
  -- What another still has comes before what nobody has.
  for i = 2, #all do if redis.call('SCARD', O .. ':' .. all[i].id) > 0 then only = {} end end
  takers = only
end
local unacked = redis.call('HLEN', O)
local room = tonumber(ARGV[4]) - unacked
local function full() return #given >= limit or bytes >= most end

local function rowOf(seq) return redis.call('XRANGE', LOG, seq .. '-0', seq .. '-0')[1] end

local function bury(taker, row, seq)
  local last = redis.call('HINCRBY', taker.deadMeta, 'last', 1)
  local size = #row[2][8] + 64
  local total = redis.call('HINCRBY', taker.deadMeta, 'bytes', size)
  local tail = string.gsub(row[2][2], '^%[[^,]*,[^,]*,[^,]*,', '')
  local from = cjson.encode({deadLetterStream = redis.call('HGET', META, 'name'), deadLetterSubscription = taker.deadName,
    deadLetterMessage = tostring(seq)})
  local header = string.format('[%.0f,%.0f,0,', now, total) .. string.sub(tail, 1, -2) .. ',' .. from .. ']'
  redis.call('HSET', taker.deadMeta, 'ms', string.format('%.0f', now))
  redis.call('XADD', taker.deadLog, last .. '-0', 'h', header, 'k', row[2][4], 'n', '', 'p', row[2][8])
  redis.call('PUBLISH', taker.deadMeta, last)
  redis.call('HDEL', O, seq)
  dead = dead + 1
end

local function give(taker, row, seq, count, key)
  given[#given + 1] = taker.id
  given[#given + 1] = count
  given[#given + 1] = row
  bytes = bytes + #row[2][8]
  taker.room = taker.room - 1
  writes[#writes + 1] = seq
  writes[#writes + 1] = taker.id .. '|' .. count .. '|' .. (keyed and key or '')
  local own = owns[taker.id] or {}
  owns[taker.id] = own
  own[#own + 1] = seq
  if taker.ackMs > 0 then
    dues[#dues + 1] = now + taker.ackMs
    dues[#dues + 1] = seq
  end
  if keyed and key ~= '' then
    local lock = redis.call('HGET', LOCKS, key)
    local n = lock and tonumber(string.match(lock, ':(%d+)$')) or 0
    redis.call('HSET', LOCKS, key, taker.id .. ':' .. (n + 1))
  end
end

-- From a queue: given again. False when it is gone, or was given up.
local function again(taker, from, seq)
  redis.call('ZREM', from, seq)
  local text = redis.call('HGET', O, seq)
  if not text then return end
  local _, count, key = parse(text)
  local row = rowOf(seq)
  if not row then redis.call('HDEL', O, seq)
  elseif taker.most > 0 and count > taker.most and redis.call('HEXISTS', taker.deadMeta, 'name') == 1
    and redis.call('HEXISTS', taker.deadMeta, 'owner') == 0 then bury(taker, row, seq)
  else give(taker, row, seq, count, key) end
end

limit = limit * 3
local function free(key, id)
  if key == '' then return true end
  if redis.call('HEXISTS', DELAYED, key) == 1 then return false end
  local lock = redis.call('HGET', LOCKS, key)
  return not lock or string.match(lock, '^(%d+):') == id
end

-- What nobody has been given yet, in steps: large messages are not read for nothing.
local function eachNew(count, each)
  local got, step = 0, 1
  while got < count and not full() do
    local asked = math.min(step, count - got)
    local rows = redis.call('XRANGE', LOG, (read + 1) .. '-0', '+', 'COUNT', asked)
    for _, row in ipairs(rows) do
      if full() then return end
      local seq = tonumber(string.match(row[1], '^(%d+)'))
      each(row, seq, row[2][4])
      read, got = seq, got + 1
    end
    if #rows < asked then return end
    step = math.min(step * 2, 64)
  end
end

local function park(key, seq)
  redis.call('ZADD', W .. ':key:' .. key, seq, seq)
  redis.call('SADD', W .. ':keys', key)
end

-- Of its own queue; when it has room afterwards, the queue is empty.
local function fromQueue(taker)
  local from = W .. ':' .. taker.id
  while taker.room > 0 and not full() do
    local seqs = redis.call('ZRANGE', from, 0, 99)
    if #seqs == 0 then return end
    for _, seq in ipairs(seqs) do
      if taker.room <= 0 or full() then return end
      local _, _, key = parse(redis.call('HGET', O, seq) or '|0|')
      if free(key, taker.id) then
        again(taker, from, seq)
      else
        redis.call('ZREM', from, seq)
        park(key, seq)
      end
    end
  end
end

local wanted, soon = 0, nil
if keyed then
  local byId, elsewhere, waiting = {}, false, redis.call('ZCARD', W)
  for _, taker in ipairs(takers) do
    byId[taker.id] = taker
    fromQueue(taker)
    wanted = wanted + taker.room
  end
  for _, member in ipairs(all) do waiting = waiting + redis.call('ZCARD', W .. ':' .. member.id) end
  -- Who takes nothing holds up the others in the end: what is to be shared anew when consumers come and go must not become much.
  if wanted > 0 and waiting < 20000 and room > 0 then
    local from = read
    eachNew(math.min(limit / 3, room, 1000), function(row, seq, key)
      local id = belongs(key, seq)
      local taker = byId[id]
      if taker and taker.room > 0 and free(key, id) then
        give(taker, row, seq, 0, key)
        return
      end
      redis.call('HSET', O, seq, '|0|' .. key)
      if free(key, id) then redis.call('ZADD', W .. ':' .. id, seq, seq) else park(key, seq) end
      if not taker then elsewhere = true end
    end)
    if read > from then more = 1 end
  end
  if elsewhere then returned = returned + 1 end
else
  local priorities = {}
  for _, member in ipairs(all) do priorities[member.id] = member.priority end
  local function next(i)
    local best
    for k = 1, #takers do
      local taker = takers[(i + k - 1) % #takers + 1]
      if taker.room > 0 and (not best or priorities[taker.id] < priorities[best.id]) then best = taker end
    end
    return best
  end
  local turn = read
  local waiting = #takers > 0 and redis.call('ZRANGE', W, 0, limit / 3 - 1) or {}
  for _, seq in ipairs(waiting) do
    local taker = next(turn)
    if not taker or full() then break end
    again(taker, W, seq)
    turn = turn + 1
  end
  for _, taker in ipairs(takers) do wanted = wanted + taker.room end
  -- Other processes have consumers, too: each takes its share of what is there, and what is left soon.
  local there = tonumber(redis.call('HGET', META, 'last')) - read
  local share = #all > #takers and kind == 'shared' and math.max(1, math.floor(there * #takers / #all)) or there
  if wanted > 0 and room > 0 then
    if share < there then soon = 2 end
    eachNew(math.min(wanted, limit / 3, room, share), function(row, seq)
      give(next(turn), row, seq, 0, '')
      turn = turn + 1
    end)
  end
end
if full() then more = 1 end

local function inParts(command, key, args)
  for i = 1, #args, 1000 do redis.call(command, key, unpack(args, i, math.min(#args, i + 999))) end
end
inParts('HSET', O, writes)
for id, own in pairs(owns) do inParts('SADD', O .. ':' .. id, own) end
inParts('ZADD', D, dues)
local before = tonumber(state[2])
if read ~= before or low ~= tonumber(state[3]) then redis.call('HSET', S, 'read', read, 'low', low, 'ms', string.format('%.0f', now)) end
if low ~= tonumber(state[3]) then redis.call('SADD', KEYS[11], redis.call('HGET', META, 'name')) end
if acked > 0 then redis.call('HINCRBY', S, 'acked', acked) end
if dead > 0 then redis.call('HINCRBY', S, 'dead', dead) end
local anew = 0
for i = 2, #given, 3 do if given[i] > 0 then anew = anew + 1 end end
if anew > 0 then redis.call('HINCRBY', S, 'again', anew) end
if #given > 0 then
  local rate = redis.call('HMGET', S, 'rate', 'ratems')
  local fade = math.exp(math.min(0, tonumber(rate[2] or now) - now) / 10000)
  redis.call('HSET', S, 'rate', tonumber(rate[1] or 0) * fade + #given / 30, 'ratems', string.format('%.0f', now))
end
if freed and #all > #takers then
  for _, member in ipairs(all) do
    if not here[member.id] and redis.call('ZCARD', W .. ':' .. member.id) > 0 then returned = returned + 1 end
  end
end
if returned > 0 and #all > #takers then redis.call('PUBLISH', META, 'back') end
local due = redis.call('ZRANGE', D, 0, 0, 'WITHSCORES')
local dueMs = due[2] and math.max(0, tonumber(due[2]) - now) or -1
if soon and (dueMs < 0 or dueMs > soon) then dueMs = soon end
redis.call('SET', turnKey, ARGV[6], 'EX', 60)
return {joined, lost, more, dueMs, active, given, repeated}`
