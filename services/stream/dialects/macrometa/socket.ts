// The WebSockets of this dialect: who may open one, and what all of them have in common from the handshake to the end.
import type { FastifyRequest } from 'fastify'
import { Failure } from '../../../../packages/core/failure.ts'
import { type Caller, type Identity, requireRole } from '../../../../packages/identity/identity.ts'
import { MAX_PAYLOAD_BYTES } from '../../../../packages/log/durable/message.ts'
import type { HttpApp } from '../../../../packages/runtime/http.ts'
import type { Accepted, Upgrades } from '../../../../packages/runtime/upgrade.ts'
import { callerOf } from './account.ts'
import { byHandshake } from './credential.ts'
import { type Ear, Ears } from './ear.ts'
import { Heartbeat } from './heartbeat.ts'
import type { Query } from './option.ts'
import { Outlet } from './outlet.ts'
import { type Kind, type Place, parsePlace } from './place.ts'

/** What stands behind a WebSocket. */
export type Session = {
  /** Messages that it may have heard and not dealt with: then nobody listens any more, until it has told its ear that they are done. */
  readonly maxWaiting: number
  /** The handshake is answered. */
  begin(outlet: Outlet, ear: Ear): void
  hear(text: string): void
  /** All that was written is taken. */
  drained?(): void
  /** The socket is closed, whoever did it. */
  end(): Promise<void>
}

export type Opening = {
  readonly caller: Caller
  readonly place: Place
  readonly query: Query
  readonly path: string
  readonly requestId: string
}
/** Rejects with a Failure that is the answer to the handshake. */
export type Open = (opening: Opening) => Promise<Session>

export type SocketPorts = {
  readonly identity: Identity
  readonly upgrades: Upgrades
  troubled(error: unknown): void
}

export type SocketSettings = {
  /** Open WebSockets that one key may have in this process. */
  readonly maxPerKey: number
  readonly heartbeat?: Heartbeat
  readonly ears?: Ears
}

/** Of a producer: the largest message, in base64, and what stands around it. Others send short commands. */
const MAX_MESSAGE_FRAME_BYTES = Math.ceil((MAX_PAYLOAD_BYTES * 4) / 3) + 256 * 1024
const MAX_COMMAND_FRAME_BYTES = 4096
/** Consumers hear pings while they wait for messages; who is at work on one for five minutes is as slow as Pulsar lets a client be. */
const PATIENCE_MS = 5 * 60_000
/** Some producers listen only after they have sent. */
const PRODUCER_PATIENCE_MS = 60 * 60_000
const STOPPING = 'the server is stopping: come back soon'
/** What those who have just left get to give back what they had. */
const SETTLED_MS = 1000
/** What a peer gets to say goodbye when this process stops. */
const GOODBYE_MS = 2000
const LOOK_EVERY_MS = 20

export class Sockets {
  readonly #ports: SocketPorts
  readonly #maxPerKey: number
  readonly #heartbeat: Heartbeat
  readonly #ears: Ears
  readonly #perKey = new Map<string, number>()
  readonly #outlets = new Map<Outlet, () => void>()
  /** Sessions whose sockets are closed, by where they led. */
  readonly #ending = new Map<Promise<void>, string>()
  #stopping = false

  constructor(ports: SocketPorts, { maxPerKey, heartbeat = new Heartbeat(), ears = new Ears() }: SocketSettings) {
    this.#ports = ports
    this.#maxPerKey = maxPerKey
    this.#heartbeat = heartbeat
    this.#ears = ears
  }

  addRoute(app: HttpApp, kind: Kind, open: Open): void {
    // A fleet that shares a key connects anew all at once.
    const config = { raw: true, limit: 'ingest', authenticate: byHandshake(this.#ports.identity) } as const
    app.get(`/_ws/ws/v2/${kind}/*`, { config }, async (request, reply) => {
      const opening = this.#check(kind, request)
      const session = await this.#open(opening, open, request)
      reply.hijack()
      this.#begin(kind, opening, session, request)
    })
  }

  /** Resolves when those who have just left this stream have given back what they had. @throws Failure `unavailable` when that takes long. */
  async settled(tenant: string, stream: string): Promise<void> {
    const way = `${tenant}/${stream}`
    const endings = [...this.#ending].flatMap(([ending, of]) => (of === way ? [ending] : []))
    if (endings.length === 0) return
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_resolve, reject) => {
      const failure = new Failure('unavailable', 'those who have just left this stream are not done: try again', { retryAfterMs: 1000 })
      timer = setTimeout(() => reject(failure), SETTLED_MS)
    })
    await Promise.race([Promise.all(endings), late]).finally(() => clearTimeout(timer))
  }

  /** Closes all, and resolves when what they had is given back. */
  async stop(): Promise<void> {
    this.#stopping = true
    const late = setTimeout(() => {
      for (const cut of this.#outlets.values()) cut()
    }, GOODBYE_MS)
    for (const outlet of this.#outlets.keys()) outlet.close(1001, STOPPING)
    while (this.#outlets.size > 0) await new Promise(resolve => setTimeout(resolve, LOOK_EVERY_MS))
    clearTimeout(late)
    await Promise.all(this.#ending.keys())
  }

  #check(kind: Kind, request: FastifyRequest): Opening {
    const { upgrades } = this.#ports
    const caller = callerOf(request)
    const place = parsePlace(kind, request.originalUrl)
    // Who consumes moves a place that others share.
    requireRole(caller, place.tenant, kind === 'reader' ? 'user' : 'developer')
    if (!upgrades.wants(request.raw)) throw new Failure('invalid', 'header upgrade: expected websocket', { field: 'upgrade' })
    upgrades.check(request.raw, false)
    if (this.#stopping) throw new Failure('unavailable', STOPPING, { retryAfterMs: 1000 })
    const path = request.originalUrl.split('?', 1)[0] as string
    return { caller, place, query: request.query as Query, path, requestId: request.id }
  }

  async #open(opening: Opening, open: Open, { raw }: FastifyRequest): Promise<Session> {
    const leave = this.#enter(opening.caller.keyId)
    try {
      // Who closes one and opens another at once would meet itself.
      await this.settled(opening.place.tenant, opening.place.topic.stream)
      // Who is gone takes nothing that another may want.
      if (await this.#ports.upgrades.isGone(raw)) throw new Failure('invalid', 'the client is gone')
      const session = await open(opening)
      let ending: Promise<void> | undefined
      const end = () => {
        ending ??= ended(session).finally(leave)
        return ending
      }
      return {
        maxWaiting: session.maxWaiting,
        begin: (outlet, ear) => session.begin(outlet, ear),
        hear: text => session.hear(text),
        drained: () => session.drained?.(),
        end,
      }
    } catch (error) {
      leave()
      throw error
    }
  }

  #enter(keyId: string): () => void {
    const now = this.#perKey.get(keyId) ?? 0
    if (now >= this.#maxPerKey)
      throw new Failure('unavailable', `at most ${this.#maxPerKey} open WebSockets of one key: close some`, { retryAfterMs: 5000 })
    this.#perKey.set(keyId, now + 1)
    return () => {
      const left = (this.#perKey.get(keyId) ?? 0) - 1
      if (left > 0) this.#perKey.set(keyId, left)
      else this.#perKey.delete(keyId)
    }
  }

  #begin(kind: Kind, { caller, place }: Opening, session: Session, request: FastifyRequest): void {
    const end = () => this.#end(session, place)
    let accepted: Accepted
    try {
      accepted = this.#ports.upgrades.accept(request.raw, kind === 'producer' ? MAX_MESSAGE_FRAME_BYTES : MAX_COMMAND_FRAME_BYTES)
    } catch (error) {
      // It went away before it was answered.
      void end()
      if (!(error instanceof Failure)) this.#ports.troubled(error)
      return
    }
    const { peer, socket } = accepted
    socket.setNoDelay(true)
    const outlet = new Outlet(accepted, end)
    const ear = this.#ears.open(outlet, session.maxWaiting)
    this.#outlets.set(outlet, () => peer.terminate())
    const stopWatching = this.#watch(caller, place.tenant, outlet)
    peer.on('message', (bytes: Buffer, isBinary) => {
      if (outlet.ended) return
      if (isBinary) outlet.close(1003, 'expected text frames')
      else this.#guard(outlet, () => hear(session, ear, bytes.toString('utf8')))
    })
    outlet.onPart(bytes => this.#guard(outlet, () => ear.came(bytes)))
    outlet.onDrain(() =>
      this.#guard(outlet, () => {
        ear.attend()
        session.drained?.()
      }),
    )
    // The peer broke the protocol: `ws` closes with the code that says so.
    peer.on('error', stopWatching)
    peer.once('close', () => {
      stopWatching()
      this.#outlets.delete(outlet)
      void end().then(() => ear.close())
    })
    const producing = { outlet, patienceMs: PRODUCER_PATIENCE_MS, isOwed: () => ear.isBusy }
    this.#heartbeat.watch(peer, kind === 'producer' ? producing : { outlet, patienceMs: PATIENCE_MS })
    this.#guard(outlet, () => session.begin(outlet, ear))
    if (this.#stopping) outlet.close(1001, STOPPING)
  }

  /** Whatever it is that a peer does, the others go on. */
  #guard(outlet: Outlet, act: () => void): void {
    try {
      act()
    } catch (error) {
      this.#ports.troubled(error)
      outlet.fail(8, 'internal error')
    }
  }

  #end(session: Session, { tenant, topic }: Place): Promise<void> {
    const ending = session
      .end()
      .catch((error: unknown) => this.#ports.troubled(error))
      .finally(() => this.#ending.delete(ending))
    this.#ending.set(ending, `${tenant}/${topic.stream}`)
    return ending
  }

  /** Within a second of the end of the caller's rights, the socket ends. */
  #watch(caller: Caller, tenant: string, outlet: Outlet): () => void {
    return this.#ports.identity.watch(caller, (reason, all) => outlet.fail(all ? 5 : 6, reason), tenant)
  }
}

function hear(session: Session, ear: Ear, text: string): void {
  ear.heard(text.length)
  session.hear(text)
  // Its answer may have been one too many.
  ear.attend()
}

/** Rejects with what `end` throws, too. */
async function ended(session: Session): Promise<void> {
  await session.end()
}
