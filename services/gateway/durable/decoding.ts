// Durable streams that have a decoder: this process takes its share of their messages, and makes device events of them. A producer of
// any dialect so is a sensor.
import { isDecoder } from '../../../packages/core/decoder.ts'
import { Failure } from '../../../packages/core/failure.ts'
import { DECODER_SUBSCRIPTION } from '../../../packages/core/stream.ts'
import type { DecodedStream } from '../../../packages/log/durable/decoded.ts'
import type { Consumer, Dispatch } from '../../../packages/log/durable/dispatch.ts'
import type { DurableStreams, Ref } from '../../../packages/log/durable/stream.ts'
import type { Subscriptions } from '../../../packages/log/durable/subscription.ts'
import type { Logger } from '../../../packages/runtime/logger.ts'
import type { IngestPorts } from '../ingest.ts'
import { Intake, Turns } from './intake.ts'
import { Round } from './round.ts'

export type DecodingPorts = {
  readonly ingest: IngestPorts
  readonly streams: DurableStreams
  readonly subscriptions: Subscriptions
  readonly dispatch: Dispatch
  readonly logger: Logger
}

const LOOK_MS = 1000
/** Each costs a question: with more streams it takes longer until a change is seen. */
const MAX_LOOKS = 20
/** Given to this process and not acked yet. */
const WINDOW = 500

type Open = { readonly ref: Ref; readonly intake: Intake; readonly consumer: Consumer }

export class Decoding {
  readonly #ports: DecodingPorts
  readonly #open = new Map<string, Open>()
  readonly #turns = new Turns()
  #timer: NodeJS.Timeout | undefined
  readonly #round = new Round(MAX_LOOKS)
  #looking: Promise<void> | undefined
  #stopped = false

  constructor(ports: DecodingPorts) {
    this.#ports = ports
  }

  start(): void {
    this.#timer = setTimeout(() => {
      this.#looking = this.#look()
        .catch((error: Error) => this.#ports.logger.warn({ reason: error.message }, 'streams with a decoder not looked at'))
        .finally(() => {
          if (!this.#stopped) this.start()
        })
    }, LOOK_MS)
  }

  /** What was taken is in the log and acked, or in its subscription again. */
  async stop(): Promise<void> {
    this.#stopped = true
    clearTimeout(this.#timer)
    await this.#looking
    await Promise.all([...this.#open.keys()].map(key => this.#close(key)))
  }

  async #look(): Promise<void> {
    const { streams, logger } = this.#ports
    const decoded = new Map((await streams.decoded()).map(one => [keyOf(one), one]))
    for (const key of this.#round.next([...decoded.keys()])) {
      const { project, stream } = decoded.get(key) as DecodedStream
      if (this.#stopped) return
      try {
        await this.#update(project, stream)
      } catch (error) {
        logger.warn({ project, stream, reason: (error as Error).message }, 'stream not decoded')
      }
    }
  }

  async #update(project: string, stream: string): Promise<void> {
    const record = await this.#ports.streams.find(project, stream)
    const key = keyOf({ project, stream })
    const open = this.#open.get(key)
    if (open && (record?.uid !== open.ref.record.uid || record.decoder !== open.ref.record.decoder)) await this.#close(key)
    if (record?.decoder === undefined) await this.#forget(project, stream, record && { project, record })
    else if (isDecoder(record.decoder) && !this.#open.has(key)) await this.#join(key, { project, record })
  }

  /** Without a decoder nothing is kept for one. */
  async #forget(project: string, stream: string, ref: Ref | undefined): Promise<void> {
    const { streams, subscriptions } = this.#ports
    if (ref && (await subscriptions.find(ref, DECODER_SUBSCRIPTION)))
      await subscriptions.remove(ref, DECODER_SUBSCRIPTION, { force: true }).catch((error: unknown) => {
        // Another process was faster.
        if (!(error instanceof Failure && error.code === 'not_found')) throw error
      })
    await streams.undecoded(project, stream)
  }

  async #join(key: string, ref: Ref): Promise<void> {
    const { ingest, dispatch, logger } = this.#ports
    const intake = new Intake(ingest, ref, this.#turns)
    const ended = async (failure: Failure) => {
      logger.debug({ project: ref.project, stream: ref.record.name, reason: failure.message }, 'stream is no longer decoded here')
      this.#open.delete(key)
      this.#round.forget(key)
      await intake.stop()
    }
    const receiver = { receive: intake.receive.bind(intake), ended: (failure: Failure) => void ended(failure) }
    const options = { subscription: DECODER_SUBSCRIPTION, type: 'key_shared', window: WINDOW, start: 'oldest', isOwn: true } as const
    const consumer = await dispatch.join(ref, options, receiver)
    // It may have ended already.
    if (intake.begin(consumer)) this.#open.set(key, { ref, intake, consumer })
  }

  async #close(key: string): Promise<void> {
    const open = this.#open.get(key)
    if (!open) return
    this.#open.delete(key)
    await open.intake.stop()
    await open.consumer.leave()
  }
}

function keyOf({ project, stream }: DecodedStream): string {
  return `${project}\t${stream}`
}
