// One durable stream's messages on their way to the log: decoded in their order, accepted like what came by HTTP, and acked when they
// are on disk, in the log or in the quarantine. Nothing overtakes what must be tried again.
import { isDecoder } from '../../../packages/core/decoder.ts'
import { Failure } from '../../../packages/core/failure.ts'
import { contentId, contentKey } from '../../../packages/core/id.ts'
import type { Consumer, Delivery } from '../../../packages/log/durable/dispatch.ts'
import { formatMessageId, type Message } from '../../../packages/log/durable/message.ts'
import type { Ref } from '../../../packages/log/durable/stream.ts'
import { COPIER } from '../../../packages/state/connector.ts'
import { MAX_BYTES, MAX_EVENTS } from '../accept.ts'
import { DECODE } from '../decode/decoder.ts'
import type { Decoded, Place } from '../decode/event.ts'
import { append, checked, type IngestPorts, type Source } from '../ingest.ts'

type ConsumerSide = Pick<Consumer, 'ack' | 'pause' | 'resume'>

/** A message and what of it is still to be settled. */
type Waiting = { readonly message: Message; decoded?: readonly Decoded[]; from: number }

/** Some elements of one message. */
type Part = { readonly waiting: Waiting; readonly elements: readonly Decoded[] }

/** Beyond this no more is taken until it is in the log. */
const MAX_QUEUED_BYTES = 8 * 1024 * 1024
/** So much is decoded in one go. */
const MAX_DECODED_BYTES = 256 * 1024
const RETRY_MS = 1000
const DEVICE_SAID_BY = 'the key of the message, or its property `device`'

/** Whoever shares it works in turn, one in each turn of the event loop, so that what else the process does goes on in between. */
export class Turns {
  #last = Promise.resolve()

  next(): Promise<void> {
    this.#last = this.#last.then(() => new Promise(resolve => setImmediate(resolve)))
    return this.#last
  }
}

export class Intake {
  readonly #ports: IngestPorts
  readonly #ref: Ref
  readonly #turns: Turns
  readonly #queue: Waiting[] = []
  #bytes = 0
  #paused = false
  #consumer: ConsumerSide | undefined
  #running: Promise<void> | undefined
  #stopped = false
  #wake = () => {}

  constructor(ports: IngestPorts, ref: Ref, turns: Turns) {
    this.#ports = ports
    this.#ref = ref
    this.#turns = turns
  }

  /** What came before waits for this. False when it has stopped since. */
  begin(consumer: ConsumerSide): boolean {
    this.#consumer = consumer
    this.#go()
    return !this.#stopped
  }

  receive(deliveries: readonly Delivery[]): void {
    for (const { message } of deliveries) {
      this.#queue.push({ message, from: 0 })
      this.#bytes += message.payload.length
    }
    this.#go()
  }

  /** Resolves when nothing is under way; what waits stays unacked. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.#wake()
    await this.#running
  }

  #go(): void {
    const consumer = this.#consumer
    if (!consumer || this.#stopped) return
    if (!this.#paused && this.#bytes > MAX_QUEUED_BYTES) {
      this.#paused = true
      consumer.pause()
    }
    if (this.#running || this.#queue.length === 0) return
    this.#running = this.#run(consumer).finally(() => {
      this.#running = undefined
      this.#go()
    })
  }

  async #run(consumer: ConsumerSide): Promise<void> {
    while (this.#queue.length > 0 && !this.#stopped) {
      await this.#turns.next()
      const failure = await this.#settle(this.#slice())
      this.#ackFront(consumer)
      if (failure) await this.#pause(failure.retryAfterMs ?? RETRY_MS)
    }
  }

  /** From the front, as much as the log takes as one: it is appended whole or not at all, so nothing overtakes what was refused. */
  #slice(): Part[] {
    const parts: Part[] = []
    let [events, chars, bytes] = [0, 0, 0]
    for (const waiting of this.#queue) {
      if (bytes >= MAX_DECODED_BYTES || events === MAX_EVENTS) break
      if (!waiting.decoded) bytes += waiting.message.payload.length
      waiting.decoded ??= this.#decoded(waiting.message)
      let to = waiting.from
      for (; to < waiting.decoded.length && events < MAX_EVENTS; to++, events++) {
        chars += lengthOf(waiting.decoded[to] as Decoded)
        if (chars > MAX_BYTES && events > 0) break
      }
      parts.push({ waiting, elements: waiting.decoded.slice(waiting.from, to) })
      if (to < waiting.decoded.length) break
    }
    return parts
  }

  /** Resolves when these are on disk, in the log or in the quarantine; with the failure when some must be tried again. */
  async #settle(parts: readonly Part[]): Promise<Failure | undefined> {
    const { project } = this.#ref
    let all: readonly Decoded[]
    try {
      all = await checked(
        this.#ports,
        project,
        parts.flatMap(({ elements }) => elements),
      )
    } catch (error) {
      if (error instanceof Failure) return error
      throw error
    }
    // From here on in one go: none overtakes another.
    this.#ports.accept.begin(
      project,
      all.length,
      all.reduce((sum, one) => sum + lengthOf(one), 0),
    )
    const taking: Promise<Failure | undefined>[] = []
    let from = 0
    for (const { waiting, elements } of parts) {
      taking.push(this.#take(waiting, all.slice(from, from + elements.length)))
      from += elements.length
    }
    const failures = await Promise.all(taking)
    for (const [i, { waiting, elements }] of parts.entries()) if (!failures[i]) waiting.from += elements.length
    return failures.find(one => one !== undefined)
  }

  #ackFront(consumer: ConsumerSide): void {
    const open = this.#queue.findIndex(({ decoded, from }) => decoded === undefined || from < decoded.length)
    const done = this.#queue.splice(0, open === -1 ? this.#queue.length : open)
    if (done.length > 0) consumer.ack(done.map(({ message }) => message.seq))
    this.#bytes -= done.reduce((sum, { message }) => sum + message.payload.length, 0)
    if (this.#paused && this.#bytes <= MAX_QUEUED_BYTES) {
      this.#paused = false
      consumer.resume()
    }
  }

  async #pause(ms: number): Promise<void> {
    if (this.#stopped) return
    let timer: NodeJS.Timeout | undefined
    await new Promise<void>(resolve => {
      this.#wake = resolve
      timer = setTimeout(resolve, ms)
    })
    clearTimeout(timer)
  }

  /** It is an event already: whoever copies events into a stream that has a decoder gets no others of them, again and again. */
  #decoded(message: Message): readonly Decoded[] {
    if (message.producer === COPIER) return []
    const decoded = decode(this.#ref, message, this.#identity(message))
    return decoded instanceof Failure ? [{ failure: decoded, element: message.payload }] : decoded
  }

  #take({ message, from: first }: Waiting, elements: readonly Decoded[]): Promise<Failure | undefined> {
    if (elements.length === 0) return Promise.resolve(undefined)
    const { project, record } = this.#ref
    const identity = this.#identity(message)
    const from = {
      project,
      source: `stream ${record.name} message ${formatMessageId(record, message.seq)}`,
      keyId: '',
      deliveryKey: (index: number) => contentKey(`${identity}\t${first + index}`),
      mayRepeat: () => true,
      ...againOf(record.decoder ?? '', message),
    }
    return new Promise(resolve => append(this.#ports, elements, from, resolve))
  }

  #identity({ seq }: Message): string {
    return `${this.#ref.record.uid}\t${seq}`
  }
}

function lengthOf(one: Decoded): number {
  return 'event' in one ? one.event.frame.length : one.element.length
}

/** How what is refused of a message is decoded again. */
function againOf(decoder: string, message: Message): Pick<Source, 'decoder' | 'again'> {
  if (!isDecoder(decoder)) return {}
  const { publishMs, eventTimeUs: sentUs } = message
  const again = { place: placeOf(message), builtIn: decoder, arrivedUs: publishMs * 1000, ...(sentUs === undefined ? {} : { sentUs }) }
  return { decoder: { name: decoder, format: decoder, version: 1 }, again }
}

function placeOf({ properties: { device, eventType }, key }: Message): Omit<Place, 'project'> {
  return { device, eventType, elseDevice: key, saidBy: DEVICE_SAID_BY }
}

/** Ids and times are those of the message, so that the same message makes the same events again. */
function decode({ project, record }: Ref, message: Message, identity: string): Decoded[] | Failure {
  const { decoder = '' } = record
  if (!isDecoder(decoder)) return new Failure('invalid', `decoder: ${decoder} is not known here`, { field: 'decoder' })
  const publishUs = message.publishMs * 1000
  let count = 0
  const newId = () => contentId(publishUs, `${identity}\t${count++}`)
  const clock = { nowUs: () => publishUs, newId, sentUs: message.eventTimeUs }
  try {
    return DECODE[decoder](message.payload, { project, ...placeOf(message) }, clock)
  } catch (error) {
    if (error instanceof Failure) return error
    // One message that a decoder breaks on holds up none of the others.
    return new Failure('invalid', `payload: decoder ${decoder} broke on it: ${(error as Error).message}`, {
      field: 'payload',
      cause: error,
    })
  }
}
