// One turn of a subscription, in one step in Redis: what its consumers did is taken in, what has come due goes back into the queue, and
// those of this process that can take more are given messages. All that is known of a subscription stands in Redis, so any number
// of processes may serve one, and each may die at any time.

/**
 * What is not acked up to `read` stands in `open` (place → consumer|redeliveries|key): given to a consumer (then also in `open:{consumer}`,
 * and in `due` if it has to be acked by a time), waiting to be given again (`wait`, or `wait:{consumer}` when its key belongs to one),
 * or held back until a time (`due` only). `low`: everything up to it is acked. Keys are kept only for key-shared subscriptions, whose
 * `locks` say which consumer has messages of a key, and `delayed` of which keys messages are held back: others of the key wait behind them.
 *
 * KEYS subscription, open, due, wait, seen, members, locks, delayed, log, meta · ARGV most messages, most bytes, silence after which a
 * consumer is gone (ms), most unacked, then the operations:
 *   j type priority name          joins; answered with its id, or why not
 *   a n place…                    acks
 *   n delayMs n place…            acks nothing: give it again after the delay
 *   l consumer                    leaves
 *   r consumer                    what it has goes back into the queue: it may never have got it
 *   t consumer permits window ackMs maxRedeliveries deadLog deadMeta subscription    can take so many
 * Returns {joined, gone consumers, 1 if there is more, ms until something is due (-1: nothing), active consumer, deliveries}; of each
 * delivery consumer, redeliveries and the row.
 */
export const TURN = `
local S, O, D, W, Z, H, LOCKS, DELAYED, LOG, META = unpack(KEYS)
local state = redis.call('HMGET', S, 'type', 'read', 'low')
if not state[1] or redis.call('EXISTS', META) == 0 then return redis.error_reply('GONE') end
local kind, read, low = state[1], tonumber(state[2]), tonumber(state[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local keyed = kind == 'key_shared'
local returned, members, acked, freed = 0, nil, 0, false
low = math.max(low, math.min(read, tonumber(redis.call('HGET', META, 'first')) - 1))

local function sorted()
  if members then return members end
  members = {}
  local all = redis.call('HGETALL', H)
  for i = 1, #all, 2 do
    local priority = string.match(all[i + 1], '^(%-?%d+)|')
    members[#members + 1] = {id = all[i], priority = tonumber(priority)}
  end
  table.sort(members, function(a, b)
    if a.priority ~= b.priority then return a.priority < b.priority end
    return tonumber(a.id) < tonumber(b.id)
  end)
  return members
end

local function parse(text)
  local owner, count, key = string.match(text, '^(%d*)|(%d+)|(.*)$')
  return owner, tonumber(count), key
end

-- The consumer to which a key belongs, as long as the consumers are the same.
local function belongs(key, seq)
  local all = sorted()
  if #all == 0 then return nil end
  local hash = tonumber(string.sub(redis.sha1hex(key ~= '' and key or tostring(seq)), 1, 7), 16)
  return all[hash % #all + 1].id
end

local function bucket(key, seq)
  local owner = keyed and belongs(key, seq)
  return owner and (W .. ':' .. owner) or W
end

local function unlock(key)
  local lock = redis.call('HGET', LOCKS, key)
  if not lock then return end
  local owner, n = string.match(lock, '^(%d+):(%d+)$')
  if tonumber(n) <= 1 then
    redis.call('HDEL', LOCKS, key)
    freed = true
  else
    redis.call('HSET', LOCKS, key, owner .. ':' .. (n - 1))
  end
end

local function undelay(key)
  if redis.call('HINCRBY', DELAYED, key, -1) <= 0 then redis.call('HDEL', DELAYED, key) end
end

-- Into the queue again, or held back first.
local function giveBack(seq, owner, count, key, delay)
  if owner ~= '' then
    redis.call('SREM', O .. ':' .. owner, seq)
    if keyed and key ~= '' then unlock(key) end
    count = count + 1
  end
  redis.call('HSET', O, seq, '|' .. count .. '|' .. key)
  if delay > 0 then
    redis.call('ZADD', D, now + delay, seq)
    if keyed and key ~= '' then redis.call('HINCRBY', DELAYED, key, 1) end
  else
    redis.call('ZREM', D, seq)
    redis.call('ZADD', bucket(key, seq), seq, seq)
  end
  returned = returned + 1
end

local function giveAllBack(id)
  for _, seq in ipairs(redis.call('SMEMBERS', O .. ':' .. id)) do
    local text = redis.call('HGET', O, seq)
    if text then
      local owner, count, key = parse(text)
      giveBack(seq, owner, count, key, 0)
    end
  end
  redis.call('DEL', O .. ':' .. id)
end

-- The keys belong to other consumers now.
local function share(base)
  local seqs = redis.call('ZRANGE', base, 0, -1)
  redis.call('DEL', base)
  for _, seq in ipairs(seqs) do
    local text = redis.call('HGET', O, seq)
    if text then redis.call('ZADD', bucket(select(3, parse(text)), seq), seq, seq) end
  end
end

local function reshare(left)
  members = nil
  if not keyed then return end
  if left then share(W .. ':' .. left) end
  local bases = {W}
  for _, member in ipairs(sorted()) do bases[#bases + 1] = W .. ':' .. member.id end
  for _, base in ipairs(bases) do share(base) end
end

local function leave(id)
  giveAllBack(id)
  redis.call('ZREM', Z, id)
  redis.call('HDEL', H, id)
  reshare(id)
end

-- Of another kind: with keys or without them.
local function become(other)
  local wasKeyed = keyed
  kind, keyed = other, other == 'key_shared'
  redis.call('HSET', S, 'type', other)
  if keyed == wasKeyed then return end
  redis.call('DEL', LOCKS, DELAYED)
  local all = redis.call('HGETALL', O)
  for i = 1, #all, 2 do
    local _, count, key = parse(all[i + 1])
    key = ''
    if keyed then
      local row = redis.call('XRANGE', LOG, all[i] .. '-0', all[i] .. '-0')[1]
      key = row and row[2][4] or ''
    end
    redis.call('HSET', O, all[i], '|' .. count .. '|' .. key)
    if key ~= '' and redis.call('ZSCORE', D, all[i]) then redis.call('HINCRBY', DELAYED, key, 1) end
  end
end

local function join(other, priority, name)
  if other ~= kind then
    if #sorted() > 0 then return 'TYPE ' .. kind end
    become(other)
  end
  if kind == 'exclusive' and #sorted() > 0 then return 'TAKEN' end
  local id = redis.call('HINCRBY', S, 'joins', 1)
  redis.call('ZADD', Z, now, id)
  redis.call('HSET', H, id, priority .. '|' .. name)
  reshare()
  return tostring(id)
end

local function ack(seqs)
  local texts = redis.call('HMGET', O, unpack(seqs))
  local gone, owned = {}, {}
  for i, seq in ipairs(seqs) do
    local text = texts[i]
    if text and not owned[seq] then
      local owner, _, key = parse(text)
      owned[seq] = true
      gone[#gone + 1] = seq
      if owner ~= '' then
        redis.call('SREM', O .. ':' .. owner, seq)
        if keyed and key ~= '' then unlock(key) end
        redis.call('ZREM', D, seq)
      elseif redis.call('ZREM', D, seq) == 1 then
        if keyed and key ~= '' then undelay(key) end
      else
        redis.call('ZREM', bucket(key, seq), seq)
      end
    end
  end
  if #gone > 0 then redis.call('HDEL', O, unpack(gone)) end
  acked = acked + #gone
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', Z, '-inf', now - tonumber(ARGV[3]))) do leave(id) end

local overdue = redis.call('ZRANGEBYSCORE', D, '-inf', now, 'LIMIT', 0, 1000)
for _, seq in ipairs(overdue) do
  redis.call('ZREM', D, seq)
  local text = redis.call('HGET', O, seq)
  if text then
    local owner, count, key = parse(text)
    if owner == '' and keyed and key ~= '' then undelay(key) end
    giveBack(seq, owner, count, key, 0)
  end
end

local joined, lost, takers, at = '', {}, {}, 5
while at <= #ARGV do
  local op = ARGV[at]
  if op == 'j' then
    joined = join(ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
    at = at + 4
  elseif op == 'a' then
    local n, seqs = tonumber(ARGV[at + 1]), {}
    for i = 1, n do seqs[i] = ARGV[at + 1 + i] end
    ack(seqs)
    at = at + 2 + n
  elseif op == 'n' then
    local delay, n = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
    for i = 1, n do
      local seq = ARGV[at + 2 + i]
      local text = redis.call('HGET', O, seq)
      if text then
        local owner, count, key = parse(text)
        if owner ~= '' then giveBack(seq, owner, count, key, delay) end
      end
    end
    at = at + 3 + n
  elseif op == 'l' then
    if redis.call('HEXISTS', H, ARGV[at + 1]) == 1 then leave(ARGV[at + 1]) end
    at = at + 2
  elseif op == 'r' then
    giveAllBack(ARGV[at + 1])
    at = at + 2
  else
    local id = ARGV[at + 1]
    if redis.call('HEXISTS', H, id) == 0 then
      lost[#lost + 1] = id
    else
      redis.call('ZADD', Z, now, id)
      local room = tonumber(ARGV[at + 3]) - redis.call('SCARD', O .. ':' .. id)
      takers[#takers + 1] = {id = id, room = math.max(0, math.min(room, tonumber(ARGV[at + 2]))), ackMs = tonumber(ARGV[at + 4]),
        most = tonumber(ARGV[at + 5]), deadLog = ARGV[at + 6], deadMeta = ARGV[at + 7], deadName = ARGV[at + 8]}
    end
    at = at + 9
  end
end

-- Everything up to here is acked.
while low < read do
  local seqs = {}
  for seq = low + 1, math.min(read, low + 256) do seqs[#seqs + 1] = seq end
  local texts, i = redis.call('HMGET', O, unpack(seqs)), 1
  while i <= #seqs and not texts[i] do i = i + 1 end
  low = low + i - 1
  if i <= #seqs then break end
end

local given, bytes, limit, most = {}, 0, tonumber(ARGV[1]), tonumber(ARGV[2])
local writes, owns, dues, dead = {}, {}, {}, 0
local all = sorted()
local active = ''
if kind == 'exclusive' or kind == 'failover' then
  active = all[1] and all[1].id or ''
  local only = {}
  for _, taker in ipairs(takers) do if taker.id == active then only[1] = taker end end
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
  elseif taker.most > 0 and count > taker.most and redis.call('HEXISTS', taker.deadMeta, 'name') == 1 then bury(taker, row, seq)
  else give(taker, row, seq, count, key) end
end

limit = limit * 3
local function free(key, id)
  if key == '' then return true end
  if redis.call('HEXISTS', DELAYED, key) == 1 then return false end
  local lock = redis.call('HGET', LOCKS, key)
  return not lock or string.match(lock, '^(%d+):') == id
end

local more = 0
if keyed then
  local held, byId, elsewhere = {}, {}, false
  for _, taker in ipairs(takers) do
    byId[taker.id] = taker
    held[taker.id] = {}
    local from = W .. ':' .. taker.id
    local seqs = redis.call('ZRANGE', from, 0, 999)
    for _, seq in ipairs(seqs) do
      if taker.room <= 0 or full() then break end
      local _, _, key = parse(redis.call('HGET', O, seq) or '|0|')
      if not held[taker.id][key] and free(key, taker.id) then again(taker, from, seq)
      elseif key ~= '' then held[taker.id][key] = true end
    end
  end
  local wanted = 0
  for _, taker in ipairs(takers) do wanted = wanted + taker.room end
  local crowded = redis.call('ZCARD', W) >= 1000
  for _, member in ipairs(all) do crowded = crowded or redis.call('ZCARD', W .. ':' .. member.id) >= 1000 end
  if wanted > 0 and not crowded and not full() and room > 0 then
    local rows = redis.call('XRANGE', LOG, (read + 1) .. '-0', '+', 'COUNT', math.min(limit / 3, room, 1000))
    local queued = {}
    for _, row in ipairs(rows) do
      if full() then
        more = 1
        break
      end
      local seq, key = tonumber(string.match(row[1], '^(%d+)')), row[2][4]
      local id = belongs(key, seq)
      local taker = byId[id]
      read = seq
      if taker and taker.room > 0 and not held[id][key] and not (queued[id] and queued[id][key]) and free(key, id) then
        give(taker, row, seq, 0, key)
      else
        redis.call('HSET', O, seq, '|0|' .. key)
        redis.call('ZADD', W .. ':' .. id, seq, seq)
        if key ~= '' then
          queued[id] = queued[id] or {}
          queued[id][key] = true
        end
        if not taker then elsewhere = true end
      end
    end
    if #rows > 0 then more = 1 end
  end
  if full() then more = 1 end
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
  local wanted = 0
  for _, taker in ipairs(takers) do wanted = wanted + taker.room end
  if wanted > 0 and not full() and room > 0 then
    local rows = redis.call('XRANGE', LOG, (read + 1) .. '-0', '+', 'COUNT', math.min(wanted, limit / 3, room))
    for _, row in ipairs(rows) do
      if full() then break end
      local seq = tonumber(string.match(row[1], '^(%d+)'))
      give(next(turn), row, seq, 0, '')
      turn = turn + 1
      read = seq
    end
  end
  if full() then more = 1 end
end

local function inParts(command, key, args)
  for i = 1, #args, 1000 do redis.call(command, key, unpack(args, i, math.min(#args, i + 999))) end
end
inParts('HSET', O, writes)
for id, own in pairs(owns) do inParts('SADD', O .. ':' .. id, own) end
inParts('ZADD', D, dues)
local before = tonumber(state[2])
if read ~= before or low ~= tonumber(state[3]) then redis.call('HSET', S, 'read', read, 'low', low) end
if acked > 0 then redis.call('HINCRBY', S, 'acked', acked) end
if dead > 0 then redis.call('HINCRBY', S, 'dead', dead) end
local anew = 0
for i = 2, #given, 3 do if given[i] > 0 then anew = anew + 1 end end
if anew > 0 then redis.call('HINCRBY', S, 'again', anew) end
if #given > 0 then
  local rate = redis.call('HMGET', S, 'rate', 'ratems')
  local fade = math.exp((tonumber(rate[2] or now) - now) / 10000)
  redis.call('HSET', S, 'rate', tonumber(rate[1] or 0) * fade + #given / 30, 'ratems', string.format('%.0f', now))
end
if freed and #all > #takers then
  local here = {}
  for _, taker in ipairs(takers) do here[taker.id] = true end
  for _, member in ipairs(all) do
    if not here[member.id] and redis.call('ZCARD', W .. ':' .. member.id) > 0 then returned = returned + 1 end
  end
end
if returned > 0 and #all > #takers then redis.call('PUBLISH', META, 'back') end
local due = redis.call('ZRANGE', D, 0, 0, 'WITHSCORES')
local dueMs = due[2] and math.max(0, tonumber(due[2]) - now) or -1
return {joined, lost, more, dueMs, active, given}`
