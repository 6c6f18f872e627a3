// Appending in groups: while one append of a stream is on its way to the disk, what comes meanwhile gathers and goes together.
import { createHash } from 'node:crypto'
import type { Redis } from 'ioredis'
import { Failure, invalid } from '../../core/failure.ts'
import { projectKey } from '../key.ts'
import { commandArgs, type Move } from '../log.ts'
import { streamKey } from './key.ts'
import { bytesOf, type NewMessage, tailOf } from './message.ts'
import { missing, type Ref } from './record.ts'
import { MAX_NAMES, type Scripts } from './script.ts'
import type { Appended } from './stream.ts'

const IDS_REMEMBERED = 100_000
const MAX_MESSAGES = 1000
const MAX_BYTES = 2 * 1024 * 1024
/** Beyond this producers are told to wait. */
const MAX_WAITING_BYTES = 64 * 1024 * 1024

const OVERFULL = new Failure('unavailable', 'too much is waiting to be appended', { retryAfterMs: 1000 })

type Call = {
  readonly messages: readonly NewMessage[]
  readonly tails: readonly string[]
  readonly bytes: number
  readonly owner: string
  settle(outcome: readonly Appended[] | Error): void
}

type Line = { readonly ref: Ref; calls: Call[] }

export class Appends {
  readonly #redis: Redis & Scripts
  readonly #lines = new Map<string, Line>()
  #waitingBytes = 0

  constructor(redis: Redis & Scripts) {
    this.#redis = redis
  }

  add(ref: Ref, messages: readonly NewMessage[], owner: string): Promise<Appended[]> {
    if (this.#waitingBytes > MAX_WAITING_BYTES) return Promise.reject(OVERFULL)
    const tails = messages.map(tailOf)
    const bytes = messages.reduce((sum, message, i) => sum + bytesOf(message, tails[i] as string), 0)
    this.#waitingBytes += bytes
    return new Promise((resolve, reject) => {
      const settle = (outcome: readonly Appended[] | Error) => {
        this.#waitingBytes -= bytes
        if (outcome instanceof Error) reject(outcome)
        else resolve([...outcome])
      }
      this.#queue(ref, { messages, tails, bytes, owner, settle })
    })
  }

  #queue(ref: Ref, call: Call): void {
    const key = streamKey(ref)
    const line = this.#lines.get(key)
    if (line) {
      line.calls.push(call)
      return
    }
    const opened: Line = { ref, calls: [call] }
    this.#lines.set(key, opened)
    // What the same socket brought goes with it.
    setImmediate(() => void this.#run(key, opened))
  }

  async #run(key: string, line: Line): Promise<void> {
    while (line.calls.length > 0) await this.#flush(line.ref, takeGroup(line))
    this.#lines.delete(key)
  }

  /** Settles each, whatever happens. */
  async #flush(ref: Ref, group: readonly Call[]): Promise<void> {
    try {
      const reply = await this.#append(ref, group)
      let at = 0
      for (const { messages, settle } of group) settle(messages.map(() => appended(reply, at++)))
    } catch (error) {
      // What is wrong with one call is not the others' fault.
      if (group.length > 1 && /\b(REUSED|NAMES)$/.test((error as Error).message)) {
        for (const call of group) await this.#flush(ref, [call])
        return
      }
      const failure = refusalOf(ref, error as Error)
      for (const { settle } of group) settle(failure)
    }
  }

  #append(ref: Ref, group: readonly Call[]): Promise<number[]> {
    const { keys, args } = appendArgs(ref, group, group[0]?.owner ?? '')
    return this.#redis.streamAppend(keys.length, ...keys, ...args)
  }

  /** For those who append what they read elsewhere, alone; see APPEND_MOVING. False: the place is another one. */
  async addMoving(ref: Ref, messages: readonly NewMessage[], { consumer, from, to, commands }: Move): Promise<boolean> {
    const { keys, args } = appendArgs(ref, [{ messages, tails: messages.map(tailOf) }], '')
    const first = keys.push(projectKey(ref.project, 'offsets'))
    const move = [first, consumer, from, to, ...commandArgs(commands, keys)]
    try {
      return (await this.#redis.streamAppendMoving(keys.length, ...keys, ...args, ...move)).length > 0
    } catch (error) {
      throw refusalOf(ref, error as Error)
    }
  }
}

type Arg = string | number | Buffer

function appendArgs(ref: Ref, group: readonly Pick<Call, 'messages' | 'tails'>[], owner: string): { keys: string[]; args: Arg[] } {
  const names = new Map<string, number>()
  const args: Arg[] = []
  for (const { messages, tails } of group)
    for (const [i, message] of messages.entries()) {
      const { payload, key = '', name = '', idempotencyKey = '' } = message
      if (name !== '' && !names.has(name)) names.set(name, names.size + 1)
      const tail = tails[i] as string
      args.push(tail, payload, key, name, names.get(name) ?? 0, idempotencyKey, bytesOf(message, tail), digestOf(message))
    }
  const parts = ['', 'log', 'ids', 'ids:old', 'names', 'dropped', ...[...names.keys()].map(name => `name:${name}`)]
  return { keys: parts.map(part => streamKey(ref, part)), args: [owner, IDS_REMEMBERED, args.length / 8, ...args] }
}

/** Those at the front that have the same owner, as many as go well in one step. */
function takeGroup(line: Line): Call[] {
  let [count, messages, bytes] = [0, 0, 0]
  for (const call of line.calls) {
    messages += call.messages.length
    bytes += call.bytes
    if (count > 0 && (messages > MAX_MESSAGES || bytes > MAX_BYTES || call.owner !== line.calls[0]?.owner)) break
    count++
  }
  return line.calls.splice(0, count)
}

/** Of what is the same when the same is sent again. */
function digestOf({ payload, key = '', name = '', idempotencyKey }: NewMessage): string {
  if (idempotencyKey === undefined) return ''
  return createHash('sha256')
    .update(JSON.stringify([key, name]))
    .update(payload)
    .digest('base64url')
    .slice(0, 16)
}

function appended(reply: readonly number[], at: number): Appended {
  const [seq, number] = [reply[2 * at] as number, reply[2 * at + 1] as number]
  return { seq: Math.abs(seq), duplicate: seq < 0, number: number === 0 ? undefined : number }
}

function refusalOf({ record }: Ref, error: Error): Error {
  if (/\bGONE$/.test(error.message)) return missing(record.name)
  if (/\bNAMES$/.test(error.message)) return invalid('name', `expected one that the stream knows: it has ${MAX_NAMES} different ones`)
  if (/\bREUSED$/.test(error.message))
    return new Failure('conflict', 'idempotencyKey: it stands for another message already', { field: 'idempotencyKey' })
  if (/\bOWNED$/.test(error.message))
    return new Failure('conflict', `stream ${record.name} belongs to another producer`, { field: 'owner' })
  return error
}
