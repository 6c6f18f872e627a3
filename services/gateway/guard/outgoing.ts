// What the broker has sent to one client and waits to have acknowledged, so that an acknowledgement of something else is known as such.
import { Frames } from './frame.ts'
import { isAnswer, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, wantsAnswer } from './packet.ts'

/** More than a session that lasts may have under way, and what is retained besides. Without an end packet ids would be given twice [MQTT-2.3.1-2]. */
const MAX_OPEN = 20_000
export const TOO_MANY_OPEN = `it leaves more than ${MAX_OPEN} messages unacknowledged`

export class Sent {
  readonly #frames = new Frames(() => undefined)
  #unanswered = 0
  /** By packet identifier the type of the packet that is to come. */
  #open: Map<number, number> | undefined

  /** All that the client asked for. */
  get hasAnswered(): boolean {
    return this.#unanswered === 0
  }

  /** A packet of the client, by its first byte, goes to the broker. */
  asked(first: number): void {
    if (wantsAnswer(first)) this.#unanswered++
  }

  /** So many answers are written here to packets that the broker never saw. */
  answers(count: number): void {
    this.#unanswered += count
  }

  /** @returns whether that is no more than a client may leave without acknowledgement. */
  wrote(bytes: Buffer): boolean {
    const frames = this.#frames
    frames.push(bytes)
    while (frames.next() === true) {
      const type = frames.first >> 4
      const qos = (frames.first >> 1) & 3
      if (isAnswer(type)) this.#unanswered--
      if (type === PUBLISH && qos > 0) this.#note(frames.bytes.readUInt16BE(this.#afterTopic()), qos === 1 ? PUBACK : PUBREC)
      else if (type === PUBREL) this.#note(frames.bytes.readUInt16BE(frames.body), PUBCOMP)
    }
    return this.#open === undefined || this.#open.size <= MAX_OPEN
  }

  /** Whether this is what is to come; it is waited for no longer. */
  expects(type: number, packetId: number): boolean {
    const expected = this.#open?.get(packetId)
    if (type === PUBREC) {
      if (expected !== PUBREC && expected !== PUBCOMP) return false
      this.#note(packetId, PUBCOMP)
      return true
    }
    return expected === type && this.#open?.delete(packetId) === true
  }

  #afterTopic(): number {
    const { bytes, body } = this.#frames
    return body + 2 + bytes.readUInt16BE(body)
  }

  #note(packetId: number, type: number): void {
    this.#open ??= new Map()
    this.#open.set(packetId, type)
  }
}
