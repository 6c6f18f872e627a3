// Content-Encoding zstd, piece by piece (RFC 8878). What a block holds is known only by unpacking it, and a hostile one of 128 KiB keeps the
// decoder busy for minutes: it runs on a thread, one block at a time, and is ended when it takes too long. This file is both its ends.
import { parentPort, Worker, workerData } from 'node:worker_threads'
import { Decompress } from 'fzstd'
import { Failure } from '../../../packages/core/failure.ts'

type Bytes = AsyncIterable<Buffer>
/** One block, before the first of a frame its header, behind the last its checksum. */
type Block = { readonly bytes: Buffer; readonly isFirst: boolean; readonly isLast: boolean }
type Job = { readonly frame: number; readonly bytes: Uint8Array; readonly isFirst: boolean; readonly isLast: boolean }
type Answer = { readonly pieces: readonly Uint8Array[]; readonly error?: string; readonly isLost?: boolean; readonly isLate?: boolean }

const MAGIC = 0xfd2fb528
const SKIPPABLE = 0x184d2a50
/** What RFC 9659 lets HTTP have. */
const MAX_WINDOW_BYTES = 8 * 1024 * 1024
const MAX_BLOCK_BYTES = 128 * 1024
/** Each holds a window. */
const MAX_FRAMES = 16
/** Of one project: nobody keeps the others out. */
const MAX_FRAMES_EACH = 4
/** A frame of which nothing has come for so long makes room for one that has. */
const IDLE_MS = 2000
/** Small bodies that come together are done before. */
const QUEUE_MS = 500
/** Each holds a block and a connection. */
const MAX_QUEUED = 64
const MAX_QUEUED_EACH = 16
/** Whose block was ended sends no other for so long: each ends the frames of all. */
const BANNED_MS = 60_000
const MAX_BANNED = 1000
/** An ordinary block takes a millisecond or two. */
const BLOCK_MS = 2000
const MARK = 'telltale zstd'
const THREAD_LIMITS = { maxOldGenerationSizeMb: 128 }

export type Sender = { readonly project: string; readonly keyId: string }

/** One that has begun and has not ended: its window stands on the thread. */
type Frame = {
  readonly number: number
  readonly project: string
  readonly keyId: string
  /** Since when it waits for its sender; undefined while it does not. */
  idleSinceMs: number | undefined
}

/** One that begins when there is room. */
type Queued = { readonly sender: Sender; admitted(frame: Frame): void }

export class Zstd {
  readonly #program: URL
  readonly #waiting: (() => void)[] = []
  #worker: Worker | undefined
  #ready: Promise<void> | undefined
  #isBusy = false
  #count = 0
  readonly #frames = new Set<Frame>()
  readonly #banned = new Map<string, number>()
  readonly #queue = new Set<Queued>()
  readonly #queueMs: number

  /** @param program this file, as something that Node runs. @param queueMs so long one waits for room. */
  constructor(program = new URL(import.meta.url), queueMs = QUEUE_MS) {
    this.#program = program
    this.#queueMs = queueMs
  }

  /**
   * @param sender whose body it is.
   * @throws Failure `invalid` for what is not zstd or not all of it; `unavailable` when the thread ended over something, when it is all in use,
   * and when another took the place of this body while that waited for its sender.
   */
  async *unpack(packed: Bytes, sender: Sender): AsyncGenerator<Buffer, void, undefined> {
    let frame: Frame | undefined
    try {
      for await (const { bytes, isFirst, isLast } of blocksOf(packed)) {
        if (isFirst) frame = await this.#enter(sender)
        if (!frame || !this.#frames.has(frame)) throw full('a body in zstd that came slowly made room for another')
        frame.idleSinceMs = undefined
        const { pieces, error, isLost, isLate } = await this.#run({ frame: frame.number, bytes, isFirst, isLast })
        if (isLate) this.#ban(sender.keyId)
        if (isLost) throw full('the zstd decoder was ended')
        if (error !== undefined) throw broken(error)
        if (isLast) this.#leave(frame)
        for (const piece of pieces) yield Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength)
        frame.idleSinceMs = performance.now()
        if (this.#queue.size > 0) this.#serve()
      }
    } finally {
      if (frame) this.#leave(frame)
    }
  }

  #enter(sender: Sender): Frame | Promise<Frame> {
    const waitMs = (this.#banned.get(sender.keyId) ?? 0) - performance.now()
    if (waitMs > 0) throw new Failure('too_many', 'a block in zstd took too long: send it otherwise, or later', { retryAfterMs: waitMs })
    return this.#admit(sender, false) ?? this.#queued(sender)
  }

  #admit({ project, keyId }: Sender, mayEndBusy: boolean): Frame | undefined {
    if (!this.#makeRoom({ project, keyId }, mayEndBusy)) return undefined
    const frame: Frame = { number: ++this.#count, project, keyId, idleSinceMs: undefined }
    this.#frames.add(frame)
    return frame
  }

  /**
   * Whoever has the most gives way to who has fewer, among projects, and among the keys of a project that has all it may; else who has kept us
   * waiting. Whose bytes are here is let finish first, for a while.
   */
  #makeRoom({ project, keyId }: Sender, mayEndBusy: boolean): boolean {
    const ours = [...this.#frames].filter(frame => frame.project === project)
    const isOwnFull = ours.length >= MAX_FRAMES_EACH
    if (!isOwnFull && this.#frames.size < MAX_FRAMES) return true
    const whose = (one: Sender) => (isOwnFull ? one.keyId : one.project)
    const rivals = isOwnFull ? ours : [...this.#frames]
    const counts = new Map<string, number>()
    for (const frame of rivals) counts.set(whose(frame), (counts.get(whose(frame)) ?? 0) + 1)
    const most = Math.max(...counts.values())
    const isGreedy = most > (counts.get(whose({ project, keyId })) ?? 0) + 1
    const nowMs = performance.now()
    const [idlest] = rivals
      .filter(frame => {
        const { idleSinceMs = nowMs } = frame
        if (nowMs - idleSinceMs >= IDLE_MS) return true
        return isGreedy && counts.get(whose(frame)) === most && (mayEndBusy || frame.idleSinceMs !== undefined)
      })
      .toSorted((a, b) => (a.idleSinceMs ?? nowMs) - (b.idleSinceMs ?? nowMs))
    if (idlest) this.#drop(idlest)
    return idlest !== undefined
  }

  #queued(sender: Sender): Promise<Frame> {
    const ofKey = [...this.#queue].filter(one => one.sender.keyId === sender.keyId).length
    if (this.#queue.size >= MAX_QUEUED || ofKey >= MAX_QUEUED_EACH) throw overfull()
    return new Promise((resolve, reject) => {
      const queued: Queued = {
        sender,
        admitted: frame => {
          clearTimeout(timer)
          this.#queue.delete(queued)
          resolve(frame)
        },
      }
      const timer = setTimeout(() => {
        const frame = this.#admit(sender, true)
        if (frame) queued.admitted(frame)
        else if (this.#queue.delete(queued)) reject(overfull())
      }, this.#queueMs)
      this.#queue.add(queued)
    })
  }

  /** Who came first is first. */
  #serve(): void {
    for (const queued of this.#queue) {
      const frame = this.#admit(queued.sender, false)
      if (frame) queued.admitted(frame)
    }
  }

  #leave(frame: Frame): void {
    if (this.#drop(frame)) this.#serve()
  }

  #drop(frame: Frame): boolean {
    if (!this.#frames.delete(frame)) return false
    this.#worker?.postMessage({ frame: frame.number, bytes: new Uint8Array(0), isFirst: false, isLast: true } satisfies Job)
    return true
  }

  #ban(keyId: string): void {
    if (this.#banned.size >= MAX_BANNED) this.#banned.clear()
    this.#banned.set(keyId, performance.now() + BANNED_MS)
  }

  async close(): Promise<void> {
    await this.#worker?.terminate()
  }

  async #run(job: Job): Promise<Answer> {
    while (this.#isBusy) await new Promise<void>(resolve => this.#waiting.push(resolve))
    this.#isBusy = true
    try {
      return await this.#ask(job)
    } finally {
      this.#isBusy = false
      this.#waiting.shift()?.()
    }
  }

  async #ask(job: Job): Promise<Answer> {
    const worker = this.#start()
    await this.#ready
    if (this.#worker !== worker) return { pieces: [], isLost: true }
    return new Promise(resolve => {
      let late = false
      const timer = setTimeout(() => {
        late = true
        void worker.terminate()
      }, BLOCK_MS)
      const settled = (answer: Answer) => {
        clearTimeout(timer)
        worker.off('message', settled).off('exit', ended)
        resolve(answer)
      }
      const ended = () => settled(late ? { pieces: [], error: 'a block takes too long', isLate: true } : { pieces: [], isLost: true })
      worker.on('message', settled).once('exit', ended)
      worker.postMessage(job)
    })
  }

  #start(): Worker {
    if (this.#worker) return this.#worker
    const worker = new Worker(this.#program, { workerData: MARK, resourceLimits: THREAD_LIMITS })
    worker.unref()
    // What it died of is said by its end: whoever waits for an answer gets another.
    worker.on('error', () => undefined)
    this.#ready = new Promise(resolve => {
      worker.once('message', () => resolve())
      worker.once('exit', () => {
        this.#worker = undefined
        resolve()
      })
    })
    this.#worker = worker
    return worker
  }
}

function full(why: string): Failure {
  return new Failure('unavailable', why, { retryAfterMs: 1000 })
}

function overfull(): Failure {
  return full(`at most ${MAX_FRAMES_EACH} bodies in zstd of one project at a time, and ${MAX_FRAMES} in all`)
}

function broken(why: string): Failure {
  return new Failure('invalid', `body: not zstd as header content-encoding says, or not all of it: ${why}`, { field: 'body' })
}

/** Waits for as many bytes as are asked for. */
class Reader {
  readonly #iterator: AsyncIterator<Buffer>
  #held: Buffer = Buffer.alloc(0)

  constructor(packed: Bytes) {
    this.#iterator = packed[Symbol.asyncIterator]()
  }

  /** Undefined at the end, if the end may be here. */
  async take(count: number, mayEnd = false): Promise<Buffer | undefined> {
    while (this.#held.length < count) {
      const next = await this.#iterator.next()
      if (next.done && mayEnd && this.#held.length === 0) return undefined
      if (next.done) throw broken('it ends too early')
      this.#held = this.#held.length === 0 ? next.value : Buffer.concat([this.#held, next.value])
    }
    const taken = this.#held.subarray(0, count)
    this.#held = this.#held.subarray(count)
    return taken
  }

  async close(): Promise<void> {
    await this.#iterator.return?.()
  }

  async need(count: number): Promise<Buffer> {
    return (await this.take(count)) as Buffer
  }

  async skip(count: number): Promise<void> {
    for (let left = count; left > 0; left -= MAX_BLOCK_BYTES) await this.take(Math.min(left, MAX_BLOCK_BYTES))
  }
}

/** [RFC 8878 3.1.1]; frames stand one behind the other, [3.1.2] some hold nothing of ours. */
async function* blocksOf(packed: Bytes): AsyncGenerator<Block> {
  const reader = new Reader(packed)
  try {
    for (let count = 0; ; count++) {
      const magic = await reader.take(4, count > 0)
      if (!magic) return
      const number = magic.readUInt32LE()
      if (number >>> 4 === SKIPPABLE >>> 4) await reader.skip((await reader.need(4)).readUInt32LE())
      else if (number === MAGIC) yield* frameOf(reader, magic)
      else throw broken('no frame begins here')
    }
  } finally {
    await reader.close()
  }
}

async function* frameOf(reader: Reader, magic: Buffer): AsyncGenerator<Block> {
  const [descriptor] = await reader.need(1)
  const { rest, hasChecksum } = headerOf(descriptor as number)
  const fields = await reader.need(rest)
  checkWindow(descriptor as number, fields)
  let head: Buffer | undefined = Buffer.concat([magic, Buffer.of(descriptor as number), fields])
  for (let isLast = false; !isLast; ) {
    const start = await reader.need(3)
    const header = start.readUIntLE(0, 3)
    isLast = (header & 1) === 1
    const type = (header >> 1) & 3
    const size = header >> 3
    if (type === RESERVED || size > MAX_BLOCK_BYTES) throw broken('a block that may not be')
    const content = await reader.need((type === RLE ? 1 : size) + (isLast && hasChecksum ? 4 : 0))
    yield { bytes: Buffer.concat(head ? [head, start, content] : [start, content]), isFirst: head !== undefined, isLast }
    head = undefined
  }
}

const RLE = 1
const RESERVED = 3

/** [RFC 8878 3.1.1.1.1] */
function headerOf(descriptor: number): { readonly rest: number; readonly hasChecksum: boolean } {
  if (descriptor & 0b1000) throw broken('a reserved bit is set')
  if (descriptor & 0b11) throw broken('it needs a dictionary')
  const isSingle = (descriptor & 0b10_0000) !== 0
  const sizeBytes = [isSingle ? 1 : 0, 2, 4, 8][descriptor >> 6] as number
  return { rest: sizeBytes + (isSingle ? 0 : 1), hasChecksum: (descriptor & 0b100) !== 0 }
}

function checkWindow(descriptor: number, fields: Buffer): void {
  const isSingle = (descriptor & 0b10_0000) !== 0
  const code = fields[0] as number
  const base = 2 ** (10 + (code >> 3))
  const bytes = isSingle ? contentBytes(descriptor >> 6, fields) : base + (base / 8) * (code & 7)
  if (bytes > MAX_WINDOW_BYTES) throw broken(`a window of at most ${MAX_WINDOW_BYTES} bytes is taken (RFC 9659), it needs ${bytes}`)
}

function contentBytes(flag: number, fields: Buffer): number {
  if (flag === 0) return fields[0] as number
  if (flag === 1) return fields.readUInt16LE() + 256
  return flag === 2 ? fields.readUInt32LE() : Number(fields.readBigUInt64LE())
}

/** By the number of the frame. */
class Frames {
  readonly #open = new Map<number, Decompress>()
  #pieces: Uint8Array[] = []

  answer({ frame, bytes, isFirst, isLast }: Job): Answer {
    this.#pieces = []
    if (isFirst) this.#open.set(frame, new Decompress(piece => void this.#pieces.push(piece)))
    const open = this.#open.get(frame)
    if (isLast) this.#open.delete(frame)
    if (!open) return { pieces: [], isLost: true }
    try {
      open.push(bytes, isLast)
      return { pieces: this.#pieces }
    } catch (error) {
      this.#open.delete(frame)
      return { pieces: [], error: (error as Error).message }
    }
  }
}

if (workerData === MARK) {
  const frames = new Frames()
  parentPort?.postMessage('ready')
  parentPort?.on('message', (job: Job) => {
    const answer = frames.answer(job)
    // Only to say that it is not needed any more.
    if (job.bytes.length > 0) parentPort?.postMessage(answer)
  })
}
