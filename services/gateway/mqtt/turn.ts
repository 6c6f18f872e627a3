// One connection of a session at a time [MQTT-3.1.4-2]: the next begins when the one before has ended, with all that comes of its end.
import type { Aedes, Client } from 'aedes'
import { Failure } from '../../../packages/core/failure.ts'

type Turn = {
  close(): void
  readonly over: Promise<void>
}

const WAIT_MS = 20_000
/** For all that comes of an end, but for a few calls to Redis afterwards: well below what the next one waits. */
const END_MS = 12_000
/** Less than the process gives this door to stop. */
const STOP_MS = 3000
const STILL_THERE = new Failure('unavailable', 'the connection that this client had before still ends', { retryAfterMs: 1000 })

export class Turns {
  readonly #last = new Map<string, Turn>()

  /**
   * The newest ends those before it, also one that waits itself.
   * @param waits called when there is one.
   * @returns what to call when this connection is over.
   * @throws Failure `unavailable`.
   */
  async take(id: string, close: () => void, waits: () => void): Promise<() => void> {
    const before = this.#last.get(id)
    let resolve = () => {}
    const over = new Promise<void>(done => {
      resolve = done
    })
    const turn = { close, over }
    this.#last.set(id, turn)
    const done = () => {
      if (this.#last.get(id) === turn) this.#last.delete(id)
      resolve()
    }
    if (!before) return done
    waits()
    before.close()
    if (await endsWithin(before.over, WAIT_MS)) return done
    void before.over.then(done)
    throw STILL_THERE
  }

  /** The client has come to another gateway. */
  close(id: string): void {
    this.#last.get(id)?.close()
  }

  /** All that there are have ended. What takes too long is in Redis, for another gateway. */
  async over(): Promise<void> {
    await endsWithin(Promise.all([...this.#last.values()].map(({ over }) => over)), STOP_MS)
  }
}

/** One for all that comes of the end of a connection: whatever limit a part of it has, it has no longer than what is left of all. */
export class Deadline {
  readonly #untilMs = performance.now() + END_MS

  /** @returns whether it did. */
  endsWithin(work: Promise<unknown>, limitMs: number): Promise<boolean> {
    return endsWithin(work, Math.max(0, Math.min(limitMs, this.#untilMs - performance.now())))
  }
}

/** aedes may be about to register a client that is gone, and it never looks again. */
const REGISTER_MS = 5000

/** Which clients aedes has let go of: what it does for one that is gone would be done to the next of the same name. */
export class Registered {
  readonly #gone = new WeakSet<Client>()
  readonly #known = new WeakSet<Client>()
  readonly #waiting = new WeakMap<Client, () => void>()

  constructor(broker: Aedes) {
    broker.on('client', client => {
      this.#known.add(client)
      if (client.closed) (broker as Aedes & { unregisterClient(client: Client): void }).unregisterClient(client)
    })
    broker.on('clientDisconnect', client => this.#left(client))
    broker.on('clientError', client => {
      // CONNECT failed: what aedes would register is not under way any more.
      if (!client.connecting && !this.#known.has(client)) this.#left(client)
    })
  }

  async gone(client: Client): Promise<void> {
    if (this.#gone.has(client)) return
    await endsWithin(new Promise<void>(resolve => this.#waiting.set(client, resolve)), REGISTER_MS)
  }

  #left(client: Client): void {
    this.#gone.add(client)
    this.#waiting.get(client)?.()
  }
}

/** @returns whether it did. */
export async function endsWithin(work: Promise<unknown>, limitMs: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined
  const limit = new Promise<false>(resolve => {
    timer = setTimeout(() => resolve(false), limitMs)
  })
  try {
    return await Promise.race([work.then(() => true), limit])
  } finally {
    clearTimeout(timer)
  }
}
