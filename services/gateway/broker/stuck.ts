// Messages that wait for connected sessions and that nobody is about to send: their publisher's gateway died, or did not know that they were
// wanted there, or its Redis answered too late. What is passed on as it comes looks at no queue, so they are looked for here.
import type { Logger } from '../../../packages/runtime/logger.ts'
import type { Lasting } from './lasting.ts'
import type { Sessions } from './sessions.ts'

export type StuckPorts = {
  readonly sessions: Pick<Sessions, 'connected' | 'ahead'>
  readonly log: Logger
  /** Told of a session that is to be sent what waits for it, from the oldest on. */
  behind(lasting: Lasting): void
  /** Between two looks; 5000. What waits for longer than this and is not on its way is stuck. */
  readonly lookMs?: number
}

const LOOK_MS = 5000

export class Stuck {
  readonly #ports: StuckPorts
  readonly #timer: NodeJS.Timeout
  /** What waited and was not on its way at the last look. */
  #suspects = new Map<Lasting, readonly string[]>()
  readonly #asked = new Set<Lasting>()
  #looking: Promise<void> | undefined
  #isWanted = false

  constructor(ports: StuckPorts) {
    this.#ports = ports
    this.#timer = setInterval(() => {
      this.#looking ??= this.#run(() => this.#look())
    }, ports.lookMs ?? LOOK_MS).unref()
  }

  /** Looks at all sessions, and takes all that waits for stuck: a message that is on its way just now is sent from the queue, once. */
  now(): void {
    if (this.#looking) this.#isWanted = true
    else this.#looking = this.#run(() => this.#among(this.#ports.sessions.connected()))
  }

  /** The same for one, with others that are asked for at the same time. */
  of(lasting: Lasting): void {
    this.#asked.add(lasting)
    if (this.#asked.size > 1) return
    setImmediate(() => {
      const all = [...this.#asked]
      this.#asked.clear()
      this.#among(all).catch(error => this.#failed(error))
    })
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer)
    this.#isWanted = false
    await this.#looking
  }

  async #run(look: () => Promise<void>): Promise<void> {
    try {
      await look()
    } catch (error) {
      this.#failed(error as Error)
    }
    this.#looking = undefined
    if (!this.#isWanted) return
    this.#isWanted = false
    this.now()
  }

  /** Redis is away: what waits does so until the next look. */
  #failed({ message: reason }: Error): void {
    this.#ports.log.debug({ reason }, 'mqtt queues not looked at')
  }

  async #among(all: readonly Lasting[]): Promise<void> {
    for (const lasting of await this.#ports.sessions.ahead(all.filter(isIdle))) if (isIdle(lasting)) this.#ports.behind(lasting)
  }

  async #look(): Promise<void> {
    const suspects = new Map<Lasting, readonly string[]>()
    for (const lasting of await this.#ports.sessions.ahead(this.#ports.sessions.connected().filter(isIdle))) {
      const before = this.#suspects.get(lasting)
      const unsent = await lasting.unsent()
      if (!isIdle(lasting)) continue
      if (before && unsent.some(id => before.includes(id))) this.#ports.behind(lasting)
      else if (unsent.length > 0) suspects.set(lasting, unsent)
    }
    this.#suspects = suspects
  }
}

/** Whose queue nobody reads. */
function isIdle({ isCurrent, isReading, isFull }: Lasting): boolean {
  return isCurrent && !isReading && !isFull
}
