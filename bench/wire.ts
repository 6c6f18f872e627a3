// MQTT 3.1.1 as bytes, for load that must cost less than what it measures: packets encoded once and patched, acks scanned in place.

const HEX = Buffer.from('0123456789abcdef')
const WITH_LOGIN = 0xc0
const CLEAN = 0x02
const KEEP_ALIVE_S = 600
const PUBLISH = 0x30

export type Qos = 0 | 1 | 2

export type Login = { readonly user: string; readonly password: string }

/** Microseconds of a clock that all processes of this machine share and nobody sets. */
export function monotonicUs(): number {
  const [seconds, nanos] = process.hrtime()
  return seconds * 1e6 + Math.floor(nanos / 1000)
}

export function connectPacket(clientId: string, login: Login | undefined, clean = true): Buffer {
  const words = [clientId, ...(login ? [login.user, login.password] : [])].map(lengthPrefixed)
  const flags = (login ? WITH_LOGIN : 0) | (clean ? CLEAN : 0)
  const header = Buffer.from([0, 4, 0x4d, 0x51, 0x54, 0x54, 4, flags, KEEP_ALIVE_S >> 8, KEEP_ALIVE_S & 255])
  return packet(0x10, Buffer.concat([header, ...words]))
}

/** The packet id stands right after the topic; with QoS 0 there is none. */
export function publishPacket(topic: string, packetId: number, payload: Buffer, qos: Qos = 1): Buffer {
  const id = Buffer.from(qos === 0 ? [] : [packetId >> 8, packetId & 255])
  return packet(PUBLISH | (qos << 1), Buffer.concat([lengthPrefixed(topic), id, payload]))
}

export function subscribePacket(filter: string, qos: Qos): Buffer {
  return packet(0x82, Buffer.concat([Buffer.from([0, 1]), lengthPrefixed(filter), Buffer.from([qos])]))
}

function lengthPrefixed(text: string): Buffer {
  const bytes = Buffer.from(text)
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes])
}

function packet(first: number, body: Buffer): Buffer {
  const length: number[] = []
  for (let rest = body.length; ; ) {
    const digit = rest % 128
    rest = Math.floor(rest / 128)
    length.push(rest > 0 ? digit | 128 : digit)
    if (rest === 0) return Buffer.concat([Buffer.from([first, ...length]), body])
  }
}

export type Heard = { connected(returnCode: number): void; acked(packetId: number): void }

/** Reads what a broker says to a publisher: CONNACK and PUBACK, both four bytes. Keep the instance per connection. */
export class AckScanner {
  readonly #heard: Heard
  readonly #held = Buffer.alloc(4)
  #count = 0

  constructor(heard: Heard) {
    this.#heard = heard
  }

  push(chunk: Buffer): void {
    let at = 0
    while (this.#count > 0 && at < chunk.length) this.#keep(chunk[at++] as number)
    for (; at + 4 <= chunk.length; at += 4)
      this.#tell(chunk[at] as number, chunk[at + 1] as number, chunk[at + 2] as number, chunk[at + 3] as number)
    while (at < chunk.length) this.#keep(chunk[at++] as number)
  }

  #keep(byte: number): void {
    this.#held[this.#count++] = byte
    if (this.#count < 4) return
    this.#count = 0
    this.#tell(...([...this.#held] as [number, number, number, number]))
  }

  #tell(type: number, length: number, third: number, fourth: number): void {
    if (length !== 2) throw new Error(`expected CONNACK or PUBACK, got a packet of type ${type >> 4}`)
    if (type === 0x40) this.#heard.acked((third << 8) | fourth)
    else if (type === 0x20) this.#heard.connected(fourth)
  }
}

/** Reads whole packets of any kind: the first byte, and where what follows the length begins and ends. Keep the instance per connection. */
export class PacketScanner {
  readonly #found: (first: number, bytes: Buffer, start: number, end: number) => void
  #rest: Buffer = Buffer.alloc(0)

  constructor(found: (first: number, bytes: Buffer, start: number, end: number) => void) {
    this.#found = found
  }

  push(chunk: Buffer): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    let at = 0
    while (at < bytes.length) {
      let start = at + 1
      let length = 0
      let digit = 128
      for (let shift = 0; digit >= 128 && start < bytes.length; shift += 7) {
        digit = bytes[start++] as number
        length |= (digit & 127) << shift
      }
      if (digit >= 128 || start + length > bytes.length) break
      this.#found(bytes[at] as number, bytes, start, start + length)
      at = start + length
    }
    this.#rest = bytes.subarray(at)
  }
}

/** A whole event of 230 bytes as the publish packet of one of 100,000 devices; every field has a fixed place and is patched there. */
export class EventPacket {
  readonly #bytes: Buffer
  readonly #hasId: boolean
  readonly #at: { device: number; body: number; event: number; target: number; value: number; times: readonly number[] }
  #ms = 0
  readonly #time = Buffer.alloc(24)

  /** @param topic of ordinary traffic: `d00000` in it is the device's place. */
  constructor(project: string, { qos = 1, topic = `projects/${project}/devices/d00000/events` }: { qos?: Qos; topic?: string } = {}) {
    const time = '2026-01-01T00:00:00.000Z'
    const data = { temperature: { value: 12.34, updateTime: time } }
    const target = `projects/${project}/devices/d00000`
    const event = { eventId: `${'0'.repeat(16)}-${'0'.repeat(8)}`, targetName: target, eventType: 'temperature', data, timestamp: time }
    this.#bytes = publishPacket(topic, 1, Buffer.from(JSON.stringify(event)), qos)
    this.#hasId = qos > 0
    const find = (text: string, from = 0) => this.#bytes.indexOf(text, from)
    const body = find('{"eventId"')
    const first = find(time)
    this.#at = {
      device: find('d00000') + 1,
      body,
      event: find('0'.repeat(16), body),
      target: find('d00000', body) + 1,
      value: find('12.34'),
      times: [first, find(time, first + 1)],
    }
  }

  get length(): number {
    return this.#bytes.length
  }

  /** Where the event itself begins; it goes on to the end. */
  get bodyAt(): number {
    return this.#at.body
  }

  /** Writes one packet; `sentUs` becomes the first 16 characters of the event's id, so that each later stage can tell its age. */
  write(into: Buffer, offset: number, packetId: number, device: number, sequence: number, sentUs: number): void {
    const at = this.#at
    this.#bytes.copy(into, offset)
    if (this.#hasId) into.writeUInt16BE(packetId, offset + at.body - 2)
    digits(into, offset + at.device, device, 5)
    digits(into, offset + at.target, device, 5)
    hex(into, offset + at.event, Math.floor(sentUs / 2 ** 32), 8)
    hex(into, offset + at.event + 8, sentUs % 2 ** 32, 8)
    hex(into, offset + at.event + 17, sequence, 8)
    const hundredths = (Math.imul(sequence, 2_654_435_761) >>> 0) % 4000
    digits(into, offset + at.value, 10 + Math.floor(hundredths / 100), 2)
    digits(into, offset + at.value + 3, hundredths % 100, 2)
    this.#refreshTime()
    for (const time of at.times) this.#time.copy(into, offset + time)
  }

  #refreshTime(): void {
    const now = Date.now()
    if (now === this.#ms) return
    this.#ms = now
    this.#time.write(new Date(now).toISOString(), 'latin1')
  }
}

function digits(into: Buffer, offset: number, value: number, count: number): void {
  for (let i = count - 1, rest = value; i >= 0; i--, rest = Math.floor(rest / 10)) into[offset + i] = 48 + (rest % 10)
}

function hex(into: Buffer, offset: number, value: number, count: number): void {
  for (let i = count - 1, rest = value; i >= 0; i--, rest = Math.floor(rest / 16)) into[offset + i] = HEX[rest % 16] as number
}

const ID_FIELD = Buffer.from('"eventId":"')

/** When the events whose JSON stands in this chunk were sent; others than `EventPacket`'s are passed over. */
export function sentTimes(chunk: Buffer, found: (sentUs: number) => void): void {
  for (let at = chunk.indexOf(ID_FIELD); at >= 0; at = chunk.indexOf(ID_FIELD, at + 40)) {
    const start = at + ID_FIELD.length
    if (chunk[start + 16] !== 45) continue
    const sentUs = sentTime(chunk, start)
    if (Number.isFinite(sentUs)) found(sentUs)
  }
}

/** Of the event whose id begins there. */
export function sentTime(chunk: Buffer, start: number): number {
  let value = 0
  for (let i = start; i < start + 16; i++) {
    const code = chunk[i] as number
    value = value * 16 + (code < 58 ? code - 48 : code > 96 && code < 103 ? code - 87 : Number.NaN)
  }
  return value
}
