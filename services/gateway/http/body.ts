// The bytes of a body as they were before they were packed (Content-Encoding), whole or piece by piece.
import { pipeline, type Transform } from 'node:stream'
import { createBrotliDecompress, createGunzip, createInflate, createInflateRaw } from 'node:zlib'
import { Failure } from '../../../packages/core/failure.ts'
import type { Sender, Zstd } from './zstd.ts'

type Bytes = AsyncIterable<Buffer>
type Unpack = (packed: Bytes) => Bytes
type Unpacker = (packed: Bytes, sender: Sender) => Bytes

const PIECE_BYTES = 64 * 1024
/** Beyond this, what is packed may be so many times longer than it was: gzip reaches 1,032, others thousands of times as much. */
const MIN_CHECKED_BYTES = 16 * 1024 * 1024
const MAX_RATIO = 1100

export const KNOWN_ENCODINGS = 'gzip, deflate, br, zstd'

/** What undoes the encodings that a request may have. */
export class Unpackers {
  readonly #byName: ReadonlyMap<string, Unpacker>

  constructor(zstd: Pick<Zstd, 'unpack'>) {
    const gunzip = through('gzip', () => createGunzip({ chunkSize: PIECE_BYTES }))
    this.#byName = new Map<string, Unpacker>([
      ['gzip', gunzip],
      ['x-gzip', gunzip],
      ['deflate', inflated],
      ['br', through('br', () => createBrotliDecompress({ chunkSize: PIECE_BYTES }))],
      ['zstd', (packed, sender) => zstd.unpack(packed, sender)],
    ])
  }

  /** Undefined for what is not packed. @throws Failure `unsupported` for an encoding that is not known, and for several. */
  of(header: string | undefined, sender: Sender): Unpack | undefined {
    const encoding = (header ?? '').trim().toLowerCase()
    if (encoding === '' || encoding === 'identity') return undefined
    const unpack = this.#byName.get(encoding)
    if (unpack) return packed => bounded(packed, all => unpack(all, sender))
    const got = encoding.includes(',') ? 'several' : encoding.slice(0, 50)
    throw new Failure('unsupported', `header content-encoding: expected one of ${KNOWN_ENCODINGS}, got ${got}`, {
      field: 'header content-encoding',
    })
  }
}

/** All of it. @throws Failure `too_large`. */
export async function wholeOf(bytes: Bytes, maxBytes: number): Promise<Buffer> {
  const pieces: Buffer[] = []
  let length = 0
  for await (const piece of bytes) {
    length += piece.length
    if (length > maxBytes) throw new Failure('too_large', `body: at most ${maxBytes} bytes`, { field: 'body' })
    pieces.push(piece)
  }
  return pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces, length)
}

/** What unpacks to more than any sender means is a bomb, wherever it goes. */
async function* bounded(packed: Bytes, unpack: Unpack): Bytes {
  let [cameBytes, madeBytes] = [0, 0]
  const counted = async function* () {
    for await (const piece of packed) {
      cameBytes += piece.length
      yield piece
    }
  }
  for await (const piece of unpack(counted())) {
    madeBytes += piece.length
    if (madeBytes > MIN_CHECKED_BYTES && madeBytes > MAX_RATIO * cameBytes)
      throw new Failure('too_large', `body: unpacks to more than ${MAX_RATIO} times its length`, { field: 'body' })
    yield piece
  }
}

/** zlib works on threads of its own and makes a piece at a time: however much is in it, the event loop goes on. */
function through(name: string, open: () => Transform): Unpack {
  return async function* (packed) {
    let broken: Error | undefined
    const source = async function* () {
      try {
        yield* packed
      } catch (error) {
        // Not of the packing: it is thrown as it is.
        broken = error as Error
        throw error
      }
    }
    const unpacked = pipeline(source, open(), () => undefined) as AsyncIterable<Buffer>
    try {
      yield* unpacked
    } catch (error) {
      if (broken) throw broken
      throw corrupt(name, error as Error)
    }
  }
}

function corrupt(name: string, error: Error): Failure {
  return new Failure('invalid', `body: not ${name} as header content-encoding says, or not all of it: ${error.message}`, {
    field: 'body',
    cause: error,
  })
}

/** By RFC 9110 8.4.1.2 deflate is in the zlib format; many send it bare. */
async function* inflated(packed: Bytes): Bytes {
  const iterator = packed[Symbol.asyncIterator]()
  const first = await iterator.next()
  const head = first.done ? undefined : first.value
  const isZlib = head === undefined || ((head[0] as number) & 0x0f) === 8
  const all = async function* () {
    if (head) yield head
    for (let next = await iterator.next(); !next.done; next = await iterator.next()) yield next.value
  }
  const options = { chunkSize: PIECE_BYTES }
  try {
    yield* through('deflate', () => (isZlib ? createInflate(options) : createInflateRaw(options)))(all())
  } finally {
    // It may be waiting for its sender: that is not waited for.
    void iterator.return?.()
  }
}
