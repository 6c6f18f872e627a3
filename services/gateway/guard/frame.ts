// Cuts a stream of bytes into MQTT packets. Bytes are copied only where a packet stands in two reads, and small reads into larger parts:
// whoever sends a packet byte by byte costs neither a buffer nor a look for each of them.

/** What is wrong with a packet by its first bytes alone, or nothing. `length` is that of the whole packet. */
export type Judge = (first: number, length: number) => string | undefined

const EMPTY = Buffer.alloc(0)
/** [MQTT-2.2.3] at most four bytes say the length. */
const MAX_HEADER = 5
/** Reads below this are put together. */
const SMALL_BYTES = 1024
const BLOCK_BYTES = 4096

export class Frames {
  readonly #judge: Judge
  readonly #later: Buffer[] = []
  #laterBytes = 0
  /** Of which the last of `#later` is the part from `#blockFrom` to `#blockTo`; empty when it is not. */
  #block = EMPTY
  #blockFrom = 0
  #blockTo = 0
  #at = 0
  /** Length of the packet that begins at `#at`; 0: not known yet. */
  #length = 0
  #header = 0

  /** The packet that `next` found: `bytes` from `start` to `end`, its body from `body`. They are valid until the next call. */
  bytes: Buffer = EMPTY
  first = 0
  start = 0
  body = 0
  end = 0

  constructor(judge: Judge) {
    this.#judge = judge
  }

  /** Bytes that are no packet yet, or that nobody has asked for. */
  get held(): number {
    return this.bytes.length - this.#at + this.#laterBytes
  }

  /** With what the next packet begins. */
  get coming(): number | undefined {
    return this.#at < this.bytes.length ? this.bytes[this.#at] : this.#later[0]?.[0]
  }

  push(chunk: Buffer): void {
    if (this.#at === this.bytes.length && this.#laterBytes === 0) {
      this.bytes = chunk
      this.#at = 0
      return
    }
    this.#laterBytes += chunk.length
    if (chunk.length < SMALL_BYTES) this.#append(chunk)
    else {
      this.#later.push(chunk)
      this.#block = EMPTY
    }
  }

  #append(chunk: Buffer): void {
    if (this.#blockTo + chunk.length <= this.#block.length) this.#later.pop()
    else {
      this.#block = Buffer.allocUnsafeSlow(BLOCK_BYTES)
      this.#blockFrom = this.#blockTo = 0
    }
    this.#blockTo += chunk.copy(this.#block, this.#blockTo)
    this.#later.push(this.#block.subarray(this.#blockFrom, this.#blockTo))
  }

  /** True: a packet stands in the fields. False: there is no whole one. A text: what is wrong; nothing may be asked after that. */
  next(): boolean | string {
    if (this.#at === this.bytes.length) this.#turn()
    if (this.#length === 0) {
      const fault = this.#readHeader()
      if (fault !== undefined) return fault
    }
    if (this.#length === 0 || this.held < this.#length) return false
    if (this.bytes.length - this.#at < this.#length) this.#join(this.#length)
    this.start = this.#at
    this.body = this.#at + this.#header
    this.end = this.#at = this.#at + this.#length
    this.#length = 0
    return true
  }

  /** Whether this packet is among those that wait. Nothing may be asked after that. */
  holds(packet: Buffer): boolean {
    while (this.next() === true) if (packet.equals(this.bytes.subarray(this.start, this.end))) return true
    return false
  }

  #turn(): void {
    const next = this.#later.shift()
    this.bytes = next ?? EMPTY
    this.#laterBytes -= this.bytes.length
    this.#at = 0
    if (this.#later.length === 0) this.#block = EMPTY
  }

  #readHeader(): string | undefined {
    if (this.bytes.length - this.#at < MAX_HEADER && this.#later.length > 0) this.#join(Math.min(MAX_HEADER, this.held))
    const { bytes } = this
    let rest = 0
    for (let i = 1, unit = 1; i < MAX_HEADER; i++, unit *= 128) {
      const byte = bytes[this.#at + i]
      if (byte === undefined) return undefined
      rest += (byte & 127) * unit
      if (byte < 128) {
        this.first = bytes[this.#at] as number
        this.#header = i + 1
        this.#length = i + 1 + rest
        return this.#judge(this.first, this.#length)
      }
    }
    return '[MQTT-2.2.3] a remaining length of more than four bytes'
  }

  /** Makes at least so many bytes contiguous; what follows them in the same read stays where it is. */
  #join(length: number): void {
    const parts = [this.bytes.subarray(this.#at)]
    let missing = length - (this.bytes.length - this.#at)
    while (missing > 0) {
      const part = this.#later.shift() as Buffer
      const taken = part.subarray(0, missing)
      if (part.length > missing) {
        this.#later.unshift(part.subarray(missing))
        if (this.#later.length === 1) this.#blockFrom += missing
      }
      missing -= taken.length
      this.#laterBytes -= taken.length
      parts.push(taken)
    }
    if (this.#later.length === 0) this.#block = EMPTY
    this.bytes = Buffer.concat(parts)
    this.#at = 0
  }
}
