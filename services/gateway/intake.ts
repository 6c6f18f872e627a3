// One durable stream's messages on their way to the log: decoded in their order, accepted like what came by HTTP, and acked when they
// are on disk, in the log or in the quarantine. Nothing overtakes what must be tried again.
import { isDecoder } from '../../packages/core/decoder.ts'
import { Failure } from '../../packages/core/failure.ts'
import { contentId, contentKey } from '../../packages/core/id.ts'
import type { Consumer, Delivery } from '../../packages/log/durable/dispatch.ts'
import { formatMessageId, type Message } from '../../packages/log/durable/message.ts'
import type { Ref } from '../../packages/log/durable/stream.ts'
import { COPIER } from '../../packages/state/connector.ts'
import { DECODE } from './decode/decoder.ts'
import type { Decoded } from './decode/json.ts'
import { type IngestPorts, ingest, refusal, setAside } from './ingest.ts'

type ConsumerSide = Pick<Consumer, 'ack' | 'pause' | 'resume'>

/** Beyond this no more is taken until it is in the log. */
const MAX_BYTES = 8 * 1024 * 1024
const RETRY_MS = 1000

export class Intake {
  readonly #ports: IngestPorts
  readonly #ref: Ref
  #queue: Message[] = []
  #bytes = 0
  #paused = false
  #consumer: ConsumerSide | undefined
  #running: Promise<void> | undefined
  #stopped = false
  #wake = () => {}

  constructor(ports: IngestPorts, ref: Ref) {
    this.#ports = ports
    this.#ref = ref
  }

  /** What came before waits for this. False when it has stopped since. */
  begin(consumer: ConsumerSide): boolean {
    this.#consumer = consumer
    this.#go()
    return !this.#stopped
  }

  receive(deliveries: readonly Delivery[]): void {
    for (const { message } of deliveries) {
      this.#queue.push(message)
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
    if (!this.#paused && this.#bytes > MAX_BYTES) {
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
    const batch = this.#queue
    this.#queue = []
    const failures = await Promise.all(batch.map(message => this.#take(message)))
    consumer.ack(batch.filter((_, i) => !failures[i]).map(({ seq }) => seq))
    const again = batch.filter((_, i) => failures[i])
    this.#queue = [...again, ...this.#queue]
    this.#bytes = this.#queue.reduce((sum, { payload }) => sum + payload.length, 0)
    if (this.#paused && this.#bytes <= MAX_BYTES) {
      this.#paused = false
      consumer.resume()
    }
    const failure = failures.find(one => one !== undefined)
    if (failure) await this.#pause(failure.retryAfterMs ?? RETRY_MS)
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

  /** Resolves when it is on disk; with the failure when it must be tried again. */
  #take(message: Message): Promise<Failure | undefined> {
    const { project, record } = this.#ref
    // It is an event already: whoever copies events into a stream that has a decoder gets no others of them, again and again.
    if (message.producer === COPIER) return Promise.resolve(undefined)
    const identity = `${record.uid}\t${message.seq}`
    const from = {
      project,
      source: `stream ${record.name} message ${formatMessageId(record, message.seq)}`,
      keyId: '',
      deliveryKey: (index: number) => contentKey(`${identity}\t${index}`),
      mayRepeat: () => true,
    }
    const decoded = decode(this.#ref, message, identity)
    return new Promise(resolve => {
      if (decoded instanceof Failure) setAside(this.#ports, project, [refusal(from, decoded, message.payload)], resolve)
      else ingest(this.#ports, decoded, from, resolve)
    })
  }
}

/** Ids and times are those of the message, so that the same message makes the same events again. */
function decode({ project, record }: Ref, message: Message, identity: string): Decoded[] | Failure {
  const { decoder = '' } = record
  if (!isDecoder(decoder)) return new Failure('invalid', `decoder: ${decoder} is not known here`, { field: 'decoder' })
  const publishUs = message.publishMs * 1000
  let count = 0
  const clock = { nowUs: () => message.eventTimeUs ?? publishUs, newId: () => contentId(publishUs, `${identity}\t${count++}`) }
  const { device, eventType } = message.properties
  try {
    return DECODE[decoder](message.payload, { project, device, eventType, elseDevice: message.key }, clock)
  } catch (error) {
    if (error instanceof Failure) return error
    // One message that a decoder breaks on holds up none of the others.
    return new Failure('invalid', `payload: decoder ${decoder} broke on it: ${(error as Error).message}`, {
      field: 'payload',
      cause: error,
    })
  }
}
