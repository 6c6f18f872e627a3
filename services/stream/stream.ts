// The stream role: following the devices or alarms of a project live, the same behind every door (HTTP, WebSocket, MQTT).
// It follows the log directly; no worker stands between.
import type { LabelMatch } from '../../packages/core/device.ts'
import { Failure, invalid } from '../../packages/core/failure.ts'
import { type Caller, type Ended, requireRole } from '../../packages/identity/identity.ts'
import type { Follow, Follower } from '../../packages/log/follow.ts'
import type { Log, Stream } from '../../packages/log/log.ts'
import type { Devices } from '../../packages/state/device.ts'
import { DeviceCache } from '../../packages/state/devicecache.ts'
import type { ReadingStore } from '../../packages/store/store.ts'
import { type Cursor, Frames, retryFrame, type Subject } from './frame.ts'
import { Hub, type Joined, UNREADABLE } from './hub.ts'
import { Past, type PastTurns } from './past.ts'
import { Pings, type Reached } from './ping.ts'
import { AllCursors, startOf } from './place.ts'
import { type Held, Pool } from './pool.ts'
import type { StreamQuery } from './query.ts'
import type { ByteSink } from './sink.ts'
import { Turns } from './turn.ts'
import { ALL, type Begin, beginAll, Wildcard } from './wildcard.ts'

export type StreamPorts = {
  readonly log: Log
  /** Has what was trimmed from the log. */
  readonly store: Pick<ReadingStore, 'past'>
  readonly devices: Devices
  follow(project: string, stream: Stream, follower: Follower): Promise<Follow>
  /** What the caller may now; undefined for one whose key is gone. */
  renew(caller: Caller): Promise<Caller | undefined>
  /** Says once when the caller may do less than it could (in any project when none is given); returns what ends the watch. */
  watch(caller: Caller, ended: Ended, project?: string): () => void
  opened(change: 1 | -1): void
  /** Somebody follows the events of a project; returns what is called when they leave. */
  followed(project: string): () => void
  troubled(error: unknown): void
  delivered(frames: number): void
  nowUs(): number
  newId(): string
  /** Cursors are sealed with it: all processes that serve one stream share it. */
  readonly cursorKey: string
  /** 0: streams never end by age. */
  readonly maxAgeMs: number
  /** Open streams that one key may have in this process. */
  readonly maxPerKey: number
  /** What several label filters mean to who does not say it; `all`. */
  readonly labelMatch?: LabelMatch
  /** What a reader may take nothing for, unless it has asked for being slow; see HubPorts. */
  readonly patienceMs?: number
  /** How long a project is followed on after its last follower has left; 10 s. */
  readonly lingerMs?: number
}

export type Asked = {
  readonly caller: Caller
  /** `-`: all that the caller may see. */
  readonly project: string
  readonly subject: Subject
  readonly query: StreamQuery
  /** Of a door whose connections have an age of their own. */
  readonly ageless?: boolean
}

/** A stream with which nothing is wrong: it may begin, and then only ends with a frame that says why. */
export type Ready = {
  readonly frames: Frames
  /** @returns how to leave; to be called when the door is closed, by whomever. Idempotent. */
  begin(sink: ByteSink): () => void
}

type Project = { readonly hub: Hub; readonly frames: Frames }
type Stop = () => void
type Open = { readonly sink: ByteSink; readonly keyId: string }
type Following = { readonly caughtUp?: Promise<void>; readonly reached: Reached; readonly leave: Stop }

export const STREAM_OF: Readonly<Record<Subject, Stream>> = { event: 'log', alarm: 'alarmlog' }

const LOG_READS_AT_ONCE = 4
const STORE_READS_AT_ONCE = 4
/** How far the clocks of others may be ahead of this one. */
const AHEAD_US = 60_000_000
/** Who comes back soon finds the hub as it was. */
const LINGER_MS = 10_000
/** Streams that began together, as after a restart, do not end together for ever. */
const AGE_SPREAD = 0.1
/** Streams are ended over this time when the process stops, so that their clients do not all come back at once. */
const SPREAD_MS = 4000
const SPREAD_PER_STREAM_MS = 4
const SPREAD_STEP_MS = 20
/** When an SSE client comes back: between these, and later the more there are. */
const RETRY_MS = 1000
const MAX_RETRY_MS = 30_000

export class Streams {
  /** For the doors, which read what is asked. */
  readonly labelMatch: LabelMatch
  readonly #ports: StreamPorts
  readonly #projects: Pool<Project>
  readonly #open = new Set<Open>()
  readonly #perKey = new Map<string, number>()
  readonly #pings = new Pings()
  readonly #turns: PastTurns = { log: new Turns(LOG_READS_AT_ONCE), store: new Turns(STORE_READS_AT_ONCE) }
  readonly #cursors: Readonly<Record<Subject, AllCursors>>
  #stopping: Promise<void> | undefined

  constructor(ports: StreamPorts) {
    this.labelMatch = ports.labelMatch ?? 'all'
    this.#ports = ports
    this.#projects = new Pool(
      key => {
        const [project, subject] = key.split('/') as [string, Subject]
        return openProject(ports, this.#turns, project, subject)
      },
      ({ hub }) => hub.stop(),
      ports.lingerMs ?? LINGER_MS,
    )
    this.#cursors = { event: new AllCursors(ports.cursorKey, 'event'), alarm: new AllCursors(ports.cursorKey, 'alarm') }
  }

  /** Open ones. */
  get size(): number {
    return this.#open.size
  }

  /** Rejects with a Failure for everything that the follower should hear before a stream begins. */
  async open(asked: Asked): Promise<Ready> {
    const { caller, project, query } = asked
    if (project !== ALL) requireRole(caller, project, 'user')
    if (this.#stopping) throw new Failure('unavailable', 'the server is stopping: resume from the last frame', { retryAfterMs: 1000 })
    if ((this.#perKey.get(caller.keyId) ?? 0) >= this.#ports.maxPerKey)
      throw new Failure('too_many', `at most ${this.#ports.maxPerKey} open streams of one key: close some`, { retryAfterMs: 5000 })
    // What is asked to be left out until then would come at once.
    if (query.sinceUs !== undefined && query.sinceUs > this.#ports.nowUs() + AHEAD_US)
      throw invalid('since', 'expected a time that has come')
    if (query.device !== undefined) await this.#checkExists(query.device, project === ALL ? projectsOf(caller) : [project])
    return project === ALL ? this.#openAll(asked) : this.#openOne(asked)
  }

  async #checkExists(device: string, projects: readonly string[]): Promise<void> {
    const found = await Promise.all(projects.map(project => this.#ports.devices.get(project, [device])))
    if (found.some(([one]) => one !== undefined)) return
    const where = projects.length === 1 ? `project ${projects[0]}` : 'any of your projects'
    throw new Failure('not_found', `device ${device} does not exist in ${where}`, { field: 'device' })
  }

  async #openOne(asked: Asked): Promise<Ready> {
    const { project, subject, query } = asked
    const { log, nowUs } = this.#ports
    const { value, release } = this.#hold(project, subject)
    try {
      const { hub, frames } = await value
      const from = await startOf(log, project, STREAM_OF[subject], text => frames.parseCursor(text), query, nowUs())
      return {
        frames,
        begin: sink => this.#begin(asked, frames, sink, followOne(hub, frames, sink, query, from, this.#follow(project, subject).release)),
      }
    } finally {
      // Until it begins it stays open anyhow, or it is over and says so.
      release()
    }
  }

  async #openAll(asked: Asked): Promise<Ready> {
    const { caller, subject, query } = asked
    const { log, cursorKey } = this.#ports
    const begin = await beginAll(log, subject, this.#cursors[subject], projectsOf(caller), query)
    const held = begin.projects.map(name => this.#hold(name, subject))
    try {
      await Promise.all(held.map(({ value }) => value))
    } finally {
      for (const { release } of held) release()
    }
    const frames = new Frames(ALL, subject, this.#ports, cursorKey)
    return { frames, begin: sink => this.#begin(asked, frames, sink, this.#followAll(asked, begin, sink)) }
  }

  /** Tells every follower to come back, spread over some seconds; then follows no more. Idempotent. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop()
    return this.#stopping
  }

  async #stop(): Promise<void> {
    const waiting = shuffled([...this.#open])
    const total = waiting.length
    const steps = Math.ceil(Math.min(SPREAD_MS, total * SPREAD_PER_STREAM_MS) / SPREAD_STEP_MS)
    const perStep = Math.ceil(total / Math.max(1, steps))
    while (waiting.length > 0) {
      for (const { sink } of waiting.splice(-perStep)) {
        if (sink.format === 'sse') sink.write(retryFrame(retryMs(total)))
        sink.end(408, 'Request Timeout', 'closing stream')
      }
      if (waiting.length > 0) await new Promise(resolve => setTimeout(resolve, SPREAD_STEP_MS))
    }
    await this.#projects.stop()
  }

  #begin(asked: Asked, frames: Frames, sink: ByteSink, { caughtUp, reached, leave: leaveHub }: Following): Stop {
    const { caller, project, query } = asked
    const open: Open = { sink, keyId: caller.keyId }
    const stops: Stop[] = [this.#enter(open), leaveHub]
    let left = false
    const leave = () => {
      if (left) return
      left = true
      for (const stop of stops) stop()
    }
    if (sink.format === 'sse') sink.write(retryFrame(retryMs(1)))
    if (query.pingMs !== undefined) stops.push(this.#pings.add(sink, frames, query.pingMs, reached))
    const { maxAgeMs } = this.#ports
    if (maxAgeMs > 0 && !asked.ageless)
      stops.push(after(maxAgeMs * (1 - AGE_SPREAD * Math.random()), () => sink.end(408, 'Request Timeout', 'closing stream')))
    stops.push(this.#watch(caller, project, sink))
    caughtUp?.catch((error: unknown) => {
      this.#ports.troubled(error)
      sink.end(503, 'Service Unavailable', UNREADABLE)
    })
    return leave
  }

  /**
   * To clients 401 means never to come back. Who follows all projects comes back to those that are left, and who had a token comes back with a
   * new one.
   */
  #watch(caller: Caller, project: string, sink: ByteSink): Stop {
    const ended: Ended = (reason, all, isExpired) => {
      if (!isExpired && (all || project !== ALL)) sink.end(401, 'Unauthorized', reason)
      else sink.end(408, 'Request Timeout', `closing stream: ${reason}`)
    }
    return this.#ports.watch(caller, ended, project === ALL ? undefined : project)
  }

  #enter(open: Open): Stop {
    const count = (change: 1 | -1) => {
      const now = (this.#perKey.get(open.keyId) ?? 0) + change
      if (now > 0) this.#perKey.set(open.keyId, now)
      else this.#perKey.delete(open.keyId)
      this.#ports.opened(change)
    }
    this.#open.add(open)
    count(1)
    return () => {
      this.#open.delete(open)
      count(-1)
    }
  }

  #followAll({ caller, subject, query }: Asked, begin: Begin, sink: ByteSink): Following {
    const wildcard = new Wildcard(sink, subject, begin, {
      cursors: this.#cursors[subject],
      projects: async () => projectsOf(await this.#ports.renew(caller)),
      join: async (project, make, from) => {
        const { value, release } = this.#follow(project, subject)
        try {
          const { hub, frames } = await value
          return released(hub.join(make(frames), query.wants, from), release)
        } catch (error) {
          release()
          throw error
        }
      },
      troubled: this.#ports.troubled,
    })
    return { reached: () => wildcard.reached(), leave: () => wildcard.stop() }
  }

  #hold(project: string, subject: Subject): Held<Project> {
    return this.#projects.hold(`${project}/${subject}`)
  }

  /** Held by a follower, who counts as one. */
  #follow(project: string, subject: Subject): Held<Project> {
    const { value, release } = this.#hold(project, subject)
    return subject === 'event' ? { value, release: both(this.#ports.followed(project), release) } : { value, release }
  }
}

async function openProject(ports: StreamPorts, turns: PastTurns, project: string, subject: Subject): Promise<Project> {
  const frames = new Frames(project, subject, ports, ports.cursorKey)
  const stream = STREAM_OF[subject]
  const past = new Past(ports.log, project, stream, turns, subject === 'event' ? ports.store : undefined)
  const hub = new Hub({
    frames,
    // The alarm log does not say when labels change, so there each is looked up anew.
    devices: new DeviceCache(ports.devices, project, subject === 'alarm' ? 0 : undefined),
    toldOfChanges: subject === 'event',
    read: (after, upTo, reader) => past.read(after, upTo, reader),
    follow: follower => ports.follow(project, stream, follower),
    delivered: ports.delivered,
    troubled: ports.troubled,
    patienceMs: ports.patienceMs,
  })
  await hub.start()
  return { hub, frames }
}

function followOne(hub: Hub, frames: Frames, sink: ByteSink, { wants }: StreamQuery, from: Cursor | undefined, release: Stop): Following {
  const { caughtUp, reached, leave } = released(hub.join(sink, wants, from), release)
  const cursor = () => {
    const place = reached()
    return place && frames.cursor(place.entryId, place.index)
  }
  return { caughtUp, reached: cursor, leave }
}

/** Who leaves needs the hub no more. */
function released(joined: Joined, release: Stop): Joined {
  return { ...joined, leave: both(() => joined.leave(), release) }
}

function both(first: Stop, second: Stop): Stop {
  return () => {
    first()
    second()
  }
}

function projectsOf(caller: Caller | undefined): readonly string[] {
  return Object.keys(caller?.roles ?? {})
}

function retryMs(streams: number): number {
  return RETRY_MS + Math.random() * Math.min(MAX_RETRY_MS, Math.max(RETRY_MS, streams * 2))
}

function after(ms: number, act: () => void): Stop {
  const timer = setTimeout(act, Math.min(ms, 2 ** 31 - 1))
  return () => clearTimeout(timer)
}

function shuffled<T>(all: T[]): T[] {
  for (let i = all.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1))
    ;[all[i], all[j]] = [all[j] as T, all[i] as T]
  }
  return all
}
