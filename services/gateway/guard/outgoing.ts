// What the broker has sent to one client and waits to have acknowledged, so that an acknowledgement of something else is known as such.
import { Frames } from './frame.ts'
import { changesFilters, isAnswer, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, saysChanged, wantsAnswer } from './packet.ts'

/** SUBSCRIBE or UNSUBSCRIBE under way: one by one each would wait for Redis, and all at once hold up everybody. */
const MAX_CHANGES = 20

/** More than a session that lasts may have under way, and what is retained besides. Without an end packet ids would be given twice [MQTT-2.3.1-2]. */
const MAX_OPEN = 20_000
export const TOO_MANY_OPEN = `it leaves more than ${MAX_OPEN} messages unacknowledged`

export class Sent {
  readonly #frames = new Frames(() => undefined)
  readonly #changed: () => void
  #unanswered = 0
  #changes = 0
  /** The type of all of them. */
  #changing = 0
  /** By packet identifier the type of the packet that is to come. */
  #open: Map<number, number> | undefined
  /** Topics of publishes that are about to be written and whose acknowledgements are asked for: how many. */
  readonly #coming = new Map<string, number>()
  /** By packet identifier, once they are. */
  readonly #noted = new Map<number, string>()

  /** @param changed called with each SUBACK and UNSUBACK. */
  constructor(changed: () => void) {
    this.#changed = changed
  }

  /**
   * Whether what begins with this byte may go to the broker, which works on all that it has at once: SUBSCRIBE is answered before anything else
   * begins, and so is UNSUBSCRIBE [MQTT-3.10.4-1]. Undefined: nothing has come yet.
   */
  allows(first: number | undefined): boolean {
    return this.#changes === 0 || first === undefined || (first >> 4 === this.#changing && this.#changes < MAX_CHANGES)
  }

  /** All that the client asked for. */
  get hasAnswered(): boolean {
    return this.#unanswered === 0
  }

  /** A packet of the client, by its first byte, goes to the broker. */
  asked(first: number): void {
    if (wantsAnswer(first)) this.#unanswered++
    if (!changesFilters(first >> 4)) return
    this.#changing = first >> 4
    this.#changes++
  }

  /** The broker is about to write a publish with QoS 1 on this topic, where there are no others: `takeTopic` knows it by its packet id. */
  comes(topic: string): void {
    this.#coming.set(topic, (this.#coming.get(topic) ?? 0) + 1)
  }

  /** For an acknowledgement that has come; once. */
  takeTopic(packetId: number): string | undefined {
    const topic = this.#noted.get(packetId)
    this.#noted.delete(packetId)
    return topic
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
      if (saysChanged(type)) this.#answered()
      if (type === PUBLISH && qos > 0 && this.#coming.size > 0) this.#noteTopic()
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

  #answered(): void {
    this.#changes--
    this.#changed()
  }

  #noteTopic(): void {
    const { bytes, body } = this.#frames
    const end = this.#afterTopic()
    const topic = bytes.toString('utf8', body + 2, end)
    const count = this.#coming.get(topic)
    if (count === undefined) return
    if (count > 1) this.#coming.set(topic, count - 1)
    else this.#coming.delete(topic)
    this.#noted.set(bytes.readUInt16BE(end), topic)
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
