// One CBOR data item (RFC 8949) as the JSON value that says the same: read strictly and within bounds, because nobody knows who wrote it. By
// hand: libraries take records, classes and shared references out of tags, allow a key twice and recurse as deep as the bytes ask for.
import { isUtf8 } from 'node:buffer'
import { Failure, invalid } from '../../../packages/core/failure.ts'
import { formatTime } from '../../../packages/core/time.ts'

/** A whole event and an array around it are deeper than data may be. */
const MAX_DEPTH = 24
const MAX_BIGNUM_BYTES = 64
/** An empty list is one byte on the wire, and a hundred here. */
const MAX_ITEMS = 500_000
/** Names: looked at here they take half the time. */
const MAX_SHORT = 32
/** Additional information: no length, the end is marked. */
const INDEFINITE = 31
const BREAK = 0xff

type Encoding = 'base64url' | 'base64' | 'hex'

export class CborReader {
  readonly #bytes: Buffer
  readonly #labels: ReadonlyMap<number, string> | undefined
  #at = 0
  #items = 0

  /** @param labels of formats whose maps have integers for keys; without them keys are text. */
  constructor(bytes: Buffer, labels?: ReadonlyMap<number, string>) {
    this.#bytes = bytes
    this.#labels = labels
  }

  get offset(): number {
    return this.#at
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length
  }

  /** @throws Failure `invalid` that names the byte. */
  item(depth = 0, encoding: Encoding = 'base64url'): unknown {
    if (depth > MAX_DEPTH) throw this.#wrong(`nested deeper than ${MAX_DEPTH} levels`)
    this.#count()
    const head = this.#byte()
    const [major, info] = [head >> 5, head & 31]
    switch (major) {
      case 0:
        return exact(this.#argument(info))
      case 1:
        return exact(-1n - BigInt(this.#argument(info)))
      case 2:
        return this.#content(2, info).toString(encoding)
      case 3:
        return this.#text(info)
      case 4:
        return this.#array(info, depth, encoding)
      case 5:
        return this.#map(info, depth, encoding)
      case 6:
        return this.#tagged(this.#argument(info), depth, encoding)
      default:
        return this.#simple(info)
    }
  }

  #count(): void {
    if (++this.#items > MAX_ITEMS) throw new Failure('too_large', `CBOR: at most ${MAX_ITEMS} items in one payload`, { field: 'payload' })
  }

  #wrong(what: string): Error {
    return invalid('payload', `CBOR: ${what} at byte ${this.#at}`)
  }

  #byte(): number {
    const byte = this.#bytes[this.#at]
    if (byte === undefined) throw this.#wrong('cut off')
    this.#at++
    return byte
  }

  #take(length: number): Buffer {
    if (length > this.#bytes.length - this.#at) throw this.#wrong(`cut off, ${length} more bytes expected`)
    this.#at += length
    return this.#bytes.subarray(this.#at - length, this.#at)
  }

  #argument(info: number): number | bigint {
    if (info < 24) return info
    if (info === 24) return this.#byte()
    if (info === 25) return this.#take(2).readUInt16BE()
    if (info === 26) return this.#take(4).readUInt32BE()
    if (info === 27) return this.#take(8).readBigUInt64BE()
    throw this.#wrong(`additional information ${info}, which means nothing here,`)
  }

  /** Each of what is counted takes a byte at least: a length beyond the end allocates nothing. */
  #length(info: number): number {
    const length = Number(this.#argument(info))
    if (length > this.#bytes.length - this.#at) throw this.#wrong(`cut off, a length of ${length} is claimed`)
    return length
  }

  /** Of a byte or text string, whose chunks are strings of the same kind with a length. */
  #content(major: number, info: number): Buffer {
    if (info !== INDEFINITE) return this.#take(this.#length(info))
    const chunks: Buffer[] = []
    for (let head = this.#byte(); head !== BREAK; head = this.#byte()) {
      if (head >> 5 !== major || (head & 31) === INDEFINITE) throw this.#wrong('a chunk of another kind than its string')
      this.#count()
      chunks.push(this.#checked(major, this.#take(this.#length(head & 31))))
    }
    return Buffer.concat(chunks)
  }

  #checked(major: number, bytes: Buffer): Buffer {
    if (major === 3 && !isUtf8(bytes)) throw this.#wrong('text that is not UTF-8')
    return bytes
  }

  #text(info: number): string {
    if (info !== INDEFINITE) {
      const length = this.#length(info)
      if (length <= MAX_SHORT && this.#isAscii(length)) {
        this.#at += length
        return this.#bytes.toString('latin1', this.#at - length, this.#at)
      }
      return this.#checked(3, this.#take(length)).toString()
    }
    return this.#content(3, info).toString()
  }

  /** Of the bytes ahead, which are there. */
  #isAscii(length: number): boolean {
    for (let at = this.#at; at < this.#at + length; at++) if ((this.#bytes[at] as number) > 0x7f) return false
    return true
  }

  #array(info: number, depth: number, encoding: Encoding): unknown[] {
    const values: unknown[] = []
    const length = info === INDEFINITE ? Number.POSITIVE_INFINITY : this.#length(info)
    while (values.length < length && !(info === INDEFINITE && this.#isBreak())) values.push(this.item(depth + 1, encoding))
    return values
  }

  #isBreak(): boolean {
    if (this.#bytes[this.#at] !== BREAK) return false
    this.#at++
    return true
  }

  #map(info: number, depth: number, encoding: Encoding): Record<string, unknown> {
    const map: Record<string, unknown> = {}
    const length = info === INDEFINITE ? Number.POSITIVE_INFINITY : this.#length(info)
    for (let i = 0; i < length && !(info === INDEFINITE && this.#isBreak()); i++) {
      const key = this.#key()
      if (Object.hasOwn(map, key)) throw invalid('payload', `the key ${JSON.stringify(key.slice(0, 100))} is given twice in one map`)
      map[key] = this.item(depth + 1, encoding)
    }
    return map
  }

  #key(): string {
    const head = this.#byte()
    const [major, info] = [head >> 5, head & 31]
    if (major === 3) {
      const key = this.#text(info)
      if (key === '__proto__') throw invalid('payload', `CBOR: ${key} is not a field name`)
      return key
    }
    if (this.#labels === undefined || major > 1) throw this.#wrong('a key of a map that is not text')
    const label = Number(this.#argument(info))
    const number = major === 0 ? label : -1 - label
    return this.#labels.get(number) ?? String(number)
  }

  #simple(info: number): unknown {
    if (info === 20 || info === 21) return info === 21
    if (info === 22 || info === 23) return null
    if (info === 25) return half(this.#take(2).readUInt16BE())
    if (info === 26) return short(this.#take(4).readFloatBE())
    if (info === 27) return this.#take(8).readDoubleBE()
    throw this.#wrong(info === INDEFINITE ? 'an end where nothing is open' : 'a simple value that stands for nothing')
  }

  #tagged(tag: number | bigint, depth: number, encoding: Encoding): unknown {
    switch (tag) {
      case 0:
      case 32:
        return this.#textual(this.item(depth + 1))
      case 1:
        return this.#time(this.item(depth + 1))
      case 2:
      case 3:
        return this.#bignum(tag === 3)
      case 4:
      case 5:
        return this.#fraction(tag === 4 ? 10 : 2, this.item(depth + 1))
      case 21:
        return this.item(depth + 1, 'base64url')
      case 22:
        return this.item(depth + 1, 'base64')
      case 23:
        return this.item(depth + 1, 'hex')
      // Only says that this is CBOR.
      case 55_799:
        return this.item(depth + 1, encoding)
      default:
        throw this.#wrong(`tag ${tag}: expected one of 0 to 5, 21, 22, 23, 32 or 55799`)
    }
  }

  #textual(value: unknown): string {
    if (typeof value !== 'string') throw this.#wrong('text expected behind this tag')
    return value
  }

  #time(value: unknown): string {
    const timeUs = typeof value === 'number' ? Math.round(value * 1e6) : Number.NaN
    if (!Number.isSafeInteger(timeUs)) throw this.#wrong('seconds since 1970 expected behind tag 1')
    return formatTime(timeUs)
  }

  #bignum(isNegative: boolean): number | string {
    const head = this.#byte()
    if (head >> 5 !== 2) throw this.#wrong('a byte string expected behind this tag')
    const bytes = this.#content(2, head & 31)
    if (bytes.length > MAX_BIGNUM_BYTES) throw this.#wrong(`a number of more than ${MAX_BIGNUM_BYTES} bytes`)
    const value = bytes.length === 0 ? 0n : BigInt(`0x${bytes.toString('hex')}`)
    return exact(isNegative ? -1n - value : value)
  }

  /** Exponent and mantissa. */
  #fraction(base: 10 | 2, value: unknown): number {
    const [exponent, mantissa] = Array.isArray(value) && value.length === 2 ? value : []
    const isWritten = typeof mantissa === 'number' || (typeof mantissa === 'string' && /^-?\d+$/.test(mantissa))
    if (!isWritten || !Number.isInteger(exponent) || !Number.isInteger(Number(mantissa)))
      throw this.#wrong('an exponent and a mantissa, both integers, expected behind this tag')
    return base === 10 ? Number(`${mantissa}e${exponent}`) : Number(mantissa) * 2 ** (exponent as number)
  }
}

/** Integers beyond 2^53 as text, so that no digit changes. */
export function exact(value: number | bigint): number | string {
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : String(value)
}

/** 21.5 sent as a float of 32 bits is 21.5, and 21.7 is 21.7, not 21.700000762939453: the shortest decimal that these 32 bits mean. */
export function short(value: number): number {
  if (!Number.isFinite(value) || Number.isInteger(value)) return value
  for (let digits = 6; digits < 9; digits++) {
    const candidate = Number(value.toPrecision(digits))
    if (Math.fround(candidate) === value) return candidate
  }
  return Number(value.toPrecision(9))
}

/** RFC 8949, appendix D. */
function half(bits: number): number {
  const exponent = (bits >> 10) & 31
  const mantissa = bits & 1023
  const sign = bits & 0x80_00 ? -1 : 1
  if (exponent === 0) return sign * mantissa * 2 ** -24
  if (exponent < 31) return sign * (mantissa + 1024) * 2 ** (exponent - 25)
  return mantissa === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN
}
