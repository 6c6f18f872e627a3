// Ids of events: they look like UUIDs of version 4 and need no table. Each is the place of its event in its stream, enciphered, with a tag
// that only this installation can make: 40 bits of place and 82 of tag.
import { createHmac, timingSafeEqual } from 'node:crypto'

const TAG_BYTES = 11
const SEQ_BYTES = 5
/** A million events a second for twelve days; the core ends long before. */
const MAX_SEQ = 2 ** (8 * SEQ_BYTES) - 1

const HEX = /^[0-9a-f]{32}$/

/** As Python's and Go's readers take them (with `urn:uuid:`, braces, or without hyphens), in the one form that is written; undefined: none. */
export function parseUuid(text: string): string | undefined {
  const hex = text
    .toLowerCase()
    .replace(/^urn:uuid:/, '')
    .replace(/^\{(.*)\}$/, '$1')
    .replaceAll('-', '')
  return HEX.test(hex) ? hyphenated(hex) : undefined
}

function hyphenated(hex: string): string {
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}

export class EventIds {
  readonly #key: Buffer

  /** @param secret of the installation, the same in all its processes. */
  constructor(secret: string) {
    this.#key = createHmac('sha256', secret).update('telltale eventserver ids').digest()
  }

  /** @param uid of the stream: ids of one that was removed are none of a later one of its name. */
  format(uid: string, seq: number): string {
    if (seq > MAX_SEQ) throw new RangeError(`no id for place ${seq}`)
    const tag = this.#tag(uid, seq)
    return hyphenated(Buffer.concat([tag, this.#masked(uid, tag, seq)]).toString('hex'))
  }

  /** The place of the event in this stream; undefined for an id that is of another one, or made up. */
  parse(uid: string, id: string): number | undefined {
    const uuid = parseUuid(id)
    if (uuid === undefined) return undefined
    const bytes = Buffer.from(uuid.replaceAll('-', ''), 'hex')
    const tag = bytes.subarray(0, TAG_BYTES)
    const seq = this.#masked(uid, tag, bytes.readUIntBE(TAG_BYTES, SEQ_BYTES)).readUIntBE(0, SEQ_BYTES)
    return timingSafeEqual(tag, this.#tag(uid, seq)) ? seq : undefined
  }

  #tag(uid: string, seq: number): Buffer {
    const tag = createHmac('sha256', this.#key).update(`tag ${seq} ${uid}`).digest().subarray(0, TAG_BYTES)
    // RFC 9562 5.4: version and variant.
    tag.writeUInt8((tag.readUInt8(6) & 0x0f) | 0x40, 6)
    tag.writeUInt8((tag.readUInt8(8) & 0x3f) | 0x80, 8)
    return tag
  }

  /** The same twice is what it was. */
  #masked(uid: string, tag: Buffer, seq: number): Buffer {
    const mask = createHmac('sha256', this.#key).update(`place ${uid} `).update(tag).digest()
    const bytes = Buffer.alloc(SEQ_BYTES)
    bytes.writeUIntBE(seq, 0, SEQ_BYTES)
    return bytes.map((byte, i) => byte ^ mask.readUInt8(i)) as Buffer
  }
}
