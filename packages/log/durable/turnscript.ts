// One turn of a subscription, in one step in Redis: what its consumers did is taken in, what has come due goes back into the queue, and
// those of this process that can take more are given messages. All that is known of a subscription stands in Redis, so any number
// of processes may serve one, and each may die at any time.
import { GIVE } from './givescript.ts'

/**
 * What is not acked up to `read` stands in `open` (place → consumer|redeliveries|key): given to a consumer (then also in `open:{consumer}`,
 * and in `due` if it has to be acked by a time), waiting to be given again (`wait`, or `wait:{consumer}` when its key belongs to one),
 * or held back until a time (`due` only). `low`: everything up to it is acked. Keys are kept only for key-shared subscriptions, whose
 * `locks` say which consumer has messages of a key, and `delayed` of which keys messages are held back: the others of such a key are parked
 * (`wait:key:{key}`, all of which `wait:keys` names) until it is free again.
 *
 * KEYS subscription, open, due, wait, seen, members, locks, delayed, log, meta, acked · ARGV most messages, most bytes, silence after which a
 * consumer is gone (ms), most unacked, id of the line and number of its turn, then the operations, those that take first:
 *   t consumer permits window ackMs maxRedeliveries deadLog deadMeta subscription    can take so many
 *   j type priority name          joins; answered with its id, or why not
 *   a n place…                    acks
 *   n delayMs n place…            acks nothing: give it again after the delay
 *   h ms n place…                 of what has to be acked by a time: this is it, from now
 *   l consumer                    leaves
 *   k consumer                    leaves, and what it has stays given until its time is over
 *   r consumer                    what it has goes back into the queue: it may never have got it
 * Returns {answers to the joins, gone consumers, 1 if there is more, ms until something is due (-1: nothing), active consumer, deliveries, 1 if
 * this turn was made before}; of each delivery consumer, redeliveries and the row.
 *
 * The first write is one that makes room, if there is any: with a full Redis a script goes on that has begun so, and is refused otherwise.
 */
const TAKE_IN = `
local S, O, D, W, Z, H, LOCKS, DELAYED, LOG, META = unpack(KEYS, 1, 10)
local state = redis.call('HMGET', S, 'type', 'read', 'low', 'ms')
if not state[1] or redis.call('EXISTS', META) == 0 then return redis.error_reply('GONE') end
local kind, read, low = state[1], tonumber(state[2]), tonumber(state[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local keyed = kind == 'key_shared'
local returned, members, acked, freed, more = 0, nil, 0, false, 0
local turnKey = S .. ':turn:' .. ARGV[5]
local repeated = redis.call('GET', turnKey) == ARGV[6] and 1 or 0
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

local function unpark(key)
  local parked = W .. ':key:' .. key
  for _, seq in ipairs(redis.call('ZRANGE', parked, 0, -1)) do redis.call('ZADD', bucket(key, seq), seq, seq) end
  redis.call('DEL', parked)
  redis.call('SREM', W .. ':keys', key)
end

local function unlock(key)
  local lock = redis.call('HGET', LOCKS, key)
  if not lock then return end
  local owner, n = string.match(lock, '^(%d+):(%d+)$')
  if tonumber(n) <= 1 then
    redis.call('HDEL', LOCKS, key)
    unpark(key)
    freed = true
  else
    redis.call('HSET', LOCKS, key, owner .. ':' .. (n - 1))
  end
end

local function undelay(key)
  if redis.call('HINCRBY', DELAYED, key, -1) > 0 then return end
  redis.call('HDEL', DELAYED, key)
  unpark(key)
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

local changed, left = false, {}

local function went(id)
  redis.call('HDEL', H, id)
  redis.call('ZREM', Z, id)
  members, changed, left[#left + 1] = nil, true, id
end

local function leave(id)
  giveAllBack(id)
  went(id)
end

-- Of another kind: with keys or without them.
local function become(other)
  local wasKeyed = keyed
  kind, keyed = other, other == 'key_shared'
  redis.call('HSET', S, 'type', other)
  if keyed == wasKeyed then return end
  for _, key in ipairs(redis.call('SMEMBERS', W .. ':keys')) do unpark(key) end
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
  members, changed = nil, true
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
        if redis.call('ZREM', bucket(key, seq), seq) == 0 then redis.call('ZREM', W .. ':key:' .. key, seq) end
      end
    end
  end
  if #gone > 0 then redis.call('HDEL', O, unpack(gone)) end
  acked = acked + #gone
end

local lost, takers, here, at = {}, {}, {}, 7
while ARGV[at] == 't' do
  local id = ARGV[at + 1]
  if redis.call('HEXISTS', H, id) == 0 then
    lost[#lost + 1] = id
  else
    here[id] = true
    takers[#takers + 1] = {id = id, permits = tonumber(ARGV[at + 2]), window = tonumber(ARGV[at + 3]), ackMs = tonumber(ARGV[at + 4]),
      most = tonumber(ARGV[at + 5]), deadLog = ARGV[at + 6], deadMeta = ARGV[at + 7], deadName = ARGV[at + 8]}
  end
  at = at + 9
end

-- Those that take are alive. The others: a clock that was set back must not keep the dead, nor what is due.
if tonumber(state[4] or 0) > now + 5000 then
  local ahead = tonumber(state[4]) - now
  for _, key in ipairs({Z, D}) do
    local all = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
    for i = 1, #all, 2 do redis.call('ZADD', key, tonumber(all[i + 1]) - ahead, all[i]) end
  end
  redis.call('HSET', S, 'ms', string.format('%.0f', now))
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', Z, '-inf', now - tonumber(ARGV[3]))) do
  if not here[id] then
    leave(id)
    if returned > 5000 then
      more = 1
      break
    end
  end
end

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

local joined = {}
while at <= #ARGV do
  local op = ARGV[at]
  if op == 'j' then
    joined[#joined + 1] = join(ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
    at = at + 4
  elseif op == 'a' then
    local n, seqs = tonumber(ARGV[at + 1]), {}
    for i = 1, n do seqs[i] = ARGV[at + 1 + i] end
    ack(seqs)
    at = at + 2 + n
  elseif op == 'n' or op == 'h' then
    local delay, n = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
    for i = 1, n do
      local seq = ARGV[at + 2 + i]
      local text = redis.call('HGET', O, seq)
      if text then
        local owner, count, key = parse(text)
        if owner ~= '' and op == 'n' then giveBack(seq, owner, count, key, delay)
        elseif owner ~= '' then redis.call('ZADD', D, 'XX', now + delay, seq) end
      end
    end
    at = at + 3 + n
  elseif op == 'l' then
    if redis.call('HEXISTS', H, ARGV[at + 1]) == 1 then leave(ARGV[at + 1]) end
    at = at + 2
  elseif op == 'k' then
    local id = ARGV[at + 1]
    if redis.call('HEXISTS', H, id) == 1 then
      redis.call('DEL', O .. ':' .. id)
      went(id)
    end
    at = at + 2
  else
    giveAllBack(ARGV[at + 1])
    at = at + 2
  end
end

if keyed and changed then
  -- What was parked for another may be free for whom its key belongs to now.
  for _, key in ipairs(redis.call('SMEMBERS', W .. ':keys')) do unpark(key) end
  for _, id in ipairs(left) do share(W .. ':' .. id) end
  share(W)
  for _, member in ipairs(sorted()) do share(W .. ':' .. member.id) end
end
for _, taker in ipairs(takers) do
  redis.call('ZADD', Z, now, taker.id)
  taker.room = math.max(0, math.min(taker.window - redis.call('SCARD', O .. ':' .. taker.id), taker.permits))
end

-- Everything up to here is acked; what is left for the next turns is found then.
local looks = 0
while low < read and looks < 100 do
  looks = looks + 1
  local seqs = {}
  for seq = low + 1, math.min(read, low + 256) do seqs[#seqs + 1] = seq end
  local texts, i = redis.call('HMGET', O, unpack(seqs)), 1
  while i <= #seqs and not texts[i] do i = i + 1 end
  low = low + i - 1
  if i <= #seqs then break end
end
`

export const TURN = TAKE_IN + GIVE
