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
  /** Since when it waits for its sender; undefined while it does not. */
  idleSinceMs: number | undefined
}

export class Zstd {
  readonly #program: URL
  readonly #waiting: (() => void)[] = []
  #worker: Worker | undefined
  #ready: Promise<void> | undefined
  #isBusy = false
  #count = 0
  readonly #frames = new Set<Frame>()
  readonly #banned = new Map<string, number>()

  /** @param program this file, as something that Node runs. */
  constructor(program = new URL(import.meta.url)) {
    this.#program = program
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
        if (isFirst) frame = this.#enter(sender)
        if (!frame || !this.#frames.has(frame)) throw full('a body in zstd that came slowly made room for another')
        frame.idleSinceMs = undefined
        const { pieces, error, isLost, isLate } = await this.#run({ frame: frame.number, bytes, isFirst, isLast })
        if (isLate) this.#ban(sender.keyId)
        if (isLost) throw full('the zstd decoder was ended')
        if (error !== undefined) throw broken(error)
        if (isLast) this.#leave(frame)
        for (const piece of pieces) yield Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength)
        frame.idleSinceMs = performance.now()
      }
    } finally {
      if (frame) this.#leave(frame)
    }
  }

  #enter({ project, keyId }: Sender): Frame {
    const waitMs = (this.#banned.get(keyId) ?? 0) - performance.now()
    if (waitMs > 0) throw new Failure('too_many', 'a block in zstd took too long: send it otherwise, or later', { retryAfterMs: waitMs })
    this.#makeRoom(project)
    const frame: Frame = { number: ++this.#count, project, idleSinceMs: undefined }
    this.#frames.add(frame)
    return frame
  }

  /** Whoever has the most gives way to a project that has fewer; else who has kept us waiting. */
  #makeRoom(project: string): void {
    const counts = new Map<string, number>()
    for (const frame of this.#frames) counts.set(frame.project, (counts.get(frame.project) ?? 0) + 1)
    const own = counts.get(project) ?? 0
    const isOwnFull = own >= MAX_FRAMES_EACH
    if (!isOwnFull && this.#frames.size < MAX_FRAMES) return
    const most = Math.max(...counts.values())
    const nowMs = performance.now()
    const [idlest] = [...this.#frames]
      .filter(({ project: of, idleSinceMs = nowMs }) => {
        if (isOwnFull && of !== project) return false
        return nowMs - idleSinceMs >= IDLE_MS || (!isOwnFull && counts.get(of) === most && most > own + 1)
      })
      .toSorted((a, b) => (a.idleSinceMs ?? nowMs) - (b.idleSinceMs ?? nowMs))
    if (!idlest) throw full(`at most ${MAX_FRAMES_EACH} bodies in zstd of one project at a time, and ${MAX_FRAMES} in all`)
    this.#leave(idlest)
  }

  #leave(frame: Frame): void {
    if (!this.#frames.delete(frame)) return
    this.#worker?.postMessage({ frame: frame.number, bytes: new Uint8Array(0), isFirst: false, isLast: true } satisfies Job)
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
