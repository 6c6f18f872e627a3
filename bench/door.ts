// `npm run bench -- doors`: every way into one running server, and its work as a broker, beside mosquitto with the same load.
import { hasInfluxd, startInfluxd } from '../packages/store/influxd.ts'
import { Child } from './child.ts'
import type { Knocked, Knocking, KnockOptions } from './knock.ts'
import { until } from './load.ts'
import { type Mosquitto, startMosquitto } from './mosquitto.ts'
import type { Form, Posted, Posting, PostOptions } from './post.ts'
import { usageOf } from './process.ts'
import type { Relayed, Relaying, RelayOptions } from './relay.ts'
import { Server } from './server.ts'
import { accounted, byTurns, type DoorSize, look, othersCores, type Rate, type Runner, type Side } from './side.ts'
import { type Idle, measureIdle, measureStorms, type Storm } from './storm.ts'
import type { Qos } from './wire.ts'

export type Way = { readonly name: string; readonly ours: Rate | string; readonly peer: Rate | undefined; readonly peerName: string }
export type DoorReport = {
  readonly ingest: readonly Way[]
  readonly broker: readonly Way[]
  readonly http: readonly Way[]
  readonly idle: readonly Idle[]
  readonly storms: readonly Storm[]
  readonly othersCores: number
}

/** An ordinary topic of the project; `d00000` is the device's place. */
const PLAIN = { topic: 'projects/default/topics/bench/d00000', filter: 'projects/default/topics/bench/#' }
const CONNECTIONS = 200
const DRAIN_LIMIT_MS = 120_000
const LAST_REFUSAL = 200
/** Longer than any body may be that is not read as it comes. */
const TRY_ENDLESS_SECONDS = 1

export async function measureDoors(size: DoorSize, only = ''): Promise<DoorReport> {
  const server = await Server.start({})
  const mosquitto = await startMosquitto()
  try {
    return await measureAll(server, mosquitto, size, only)
  } catch (error) {
    console.error(server.state)
    throw error
  } finally {
    await mosquitto?.stop()
    await server.stop()
  }
}

async function measureAll(server: Server, mosquitto: Mosquitto | undefined, size: DoorSize, only: string): Promise<DoorReport> {
  const own = { name: 'Telltale', port: server.mqttPort, pid: server.pid, login: server.login, settle: () => drained(server) }
  const other = mosquitto && { name: 'mosquitto', ...mosquitto, login: undefined, settle: async () => {} }
  const started = look()
  // First, while the memory of both is as it was at the start.
  const idle = 'idle'.includes(only) ? [await measureIdle(own), ...(other ? [await measureIdle(other)] : [])] : []
  const report = {
    idle,
    ingest: await each(INGEST, only, way => measureKnock(server, own, other, way, size)),
    broker: await each(BROKER, only, way =>
      'subscribers' in way ? measureRelay(own, other, way, size) : measureKnock(undefined, own, other, way, size),
    ),
    http: await each(POSTS, only, way => measurePost(server, own, way, size)),
    storms: size.storm > 0 && 'storm'.includes(only) ? await measureStorms(server, own, other, size.storm) : [],
  }
  return { ...report, othersCores: othersCores(started) }
}

async function each<T extends { readonly name: string }>(
  ways: readonly T[],
  only: string,
  measure: (way: T) => Promise<Way>,
): Promise<Way[]> {
  const found: Way[] = []
  for (const way of ways.filter(({ name }) => name.includes(only))) {
    process.stderr.write(`${way.name}\n`)
    found.push(await measure(way))
  }
  return found
}

/** Everything that was accepted is judged and stored, so that no run pays for the one before. */
async function drained(server: Server): Promise<void> {
  await until('the consumers are through', DRAIN_LIMIT_MS, async () => {
    const { consumers } = await server.request<{ consumers: Record<string, { lagMs: number }> }>('GET', 'status')
    return Object.values(consumers).every(({ lagMs }) => lagMs === 0)
  })
}

// ---- MQTT in

type KnockWay = { readonly name: string; readonly qos: Qos; readonly window: number; readonly topic?: string }

const WINDOWS: readonly (readonly [Qos, number])[] = [
  [0, 50],
  [1, 50],
  [2, 50],
  [1, 1],
  [2, 1],
]
const INGEST: readonly KnockWay[] = WINDOWS.map(([qos, window]) => ({ name: `events, QoS ${qos}, window ${window}`, qos, window }))

/** @param server when they are events: with QoS 0 its counters alone tell how many were taken. */
async function measureKnock(server: Server | undefined, own: Side, other: Side | undefined, way: KnockWay, size: DoorSize): Promise<Way> {
  const ours = await knocker(own, way, server)
  const theirs = other && (await knocker(other, { ...way, topic: PLAIN.topic }, undefined))
  const [first, second] = await byTurns([ours, ...(theirs ? [theirs] : [])], size)
  return { name: way.name, ours: first as Rate, peer: second, peerName: 'mosquitto' }
}

async function knocker(side: Side, { qos, window, topic }: KnockWay, server: Server | undefined): Promise<Runner> {
  const options: KnockOptions = { port: side.port, login: side.login, topic, qos, window, connections: CONNECTIONS }
  const child = await Child.open<Knocking, Knocked>('knock.ts', options)
  const accepted = async () => (await server?.metrics())?.['telltale_events_accepted_total'] ?? 0
  return {
    run: seconds =>
      accounted(side, async () => {
        const before = await accepted()
        const { count, seconds: took, ack } = await child.ask({ seconds })
        if (!server || qos > 0) return { count, seconds: took, latency: ack, share: 1 }
        await side.settle()
        const taken = (await accepted()) - before
        return { count: taken, seconds: took, latency: ack, share: taken / count }
      }),
    close: () => child.close(),
  }
}

// ---- the broker's own work

type RelayWay = { readonly name: string; readonly qos: 0 | 1; readonly subscribers: number }

const BROKER: readonly (RelayWay | KnockWay)[] = [
  ...([0, 1, 2] as const).map(qos => ({ name: `to nobody, QoS ${qos}`, qos, window: 50, topic: PLAIN.topic })),
  ...([0, 1] as const).map(qos => ({ name: `to one subscriber, QoS ${qos}`, qos, subscribers: 1 })),
  ...([0, 1] as const).map(qos => ({ name: `to 100 subscribers, QoS ${qos}`, qos, subscribers: 100 })),
]
const PUBLISHERS = 50
const UNDERWAY = 1000
/** Of what goes to 100. */
const FEW_UNDERWAY = 100

async function measureRelay(own: Side, other: Side | undefined, way: RelayWay, size: DoorSize): Promise<Way> {
  const runners = [await relayer(own, way), ...(other ? [await relayer(other, way)] : [])]
  const [ours, peer] = await byTurns(runners, size)
  return { name: way.name, ours: ours as Rate, peer, peerName: 'mosquitto' }
}

async function relayer(side: Side, { qos, subscribers }: RelayWay): Promise<Runner> {
  const crowd = subscribers > 1 ? { publishers: 10, underway: FEW_UNDERWAY } : { publishers: PUBLISHERS, underway: UNDERWAY }
  const options: RelayOptions = { port: side.port, login: side.login, ...PLAIN, qos, subscribers, ...crowd }
  const child = await Child.open<Relaying, Relayed>('relay.ts', options)
  return {
    run: seconds =>
      accounted(side, async () => {
        const { deliveries, ...rest } = await child.ask({ seconds })
        return { count: deliveries, ...rest }
      }),
    close: () => child.close(),
  }
}

// ---- HTTP

type PostWay = { readonly name: string; readonly form: Form; readonly path: string; readonly connections: number }

const EVENTS = '/v2/projects/default/events'
const POSTS: readonly PostWay[] = [
  { name: 'HTTP, one event a request', form: 'one', path: EVENTS, connections: 50 },
  { name: 'HTTP, array of 1,000', form: 'array', path: EVENTS, connections: 16 },
  { name: 'HTTP, 1,000 lines', form: 'lines', path: EVENTS, connections: 16 },
  { name: 'HTTP, lines without end', form: 'endless', path: EVENTS, connections: 8 },
  { name: 'HTTP, 1,000 lines, gzip', form: 'gzip', path: EVENTS, connections: 16 },
  { name: 'HTTP, line protocol, 1,000', form: 'influx', path: '/api/v2/write?bucket=default', connections: 16 },
  { name: 'HTTP, line protocol, 1,000, gzip', form: 'influx gzip', path: '/api/v2/write?bucket=default', connections: 16 },
]

async function measurePost(server: Server, own: Side, way: PostWay, size: DoorSize): Promise<Way> {
  const ours = { port: server.httpPort, path: way.path, authorization: server.authorization, form: way.form, connections: way.connections }
  const refusal = await tryPost(ours)
  if (refusal !== undefined) return { name: way.name, ours: refusal, peer: undefined, peerName: '' }
  const runner = await poster(own, ours)
  if (!way.form.startsWith('influx') || !hasInfluxd()) {
    const [rate] = await byTurns([runner], size)
    return { name: way.name, ours: rate as Rate, peer: undefined, peerName: '' }
  }
  return besideInflux(runner, way, size)
}

/** A server that does not know this form says so. */
async function tryPost(options: PostOptions): Promise<string | undefined> {
  const child = await Child.open<Posting, Posted>('post.ts', { ...options, connections: 1 })
  const { refusal } = await child.ask({ seconds: options.form === 'endless' ? TRY_ENDLESS_SECONDS : 0.01 })
  await child.close()
  return refusal?.replace(/\r\n[\s\S]*\r\n\r\n/, ' ').slice(0, LAST_REFUSAL)
}

async function besideInflux(runner: Runner, { name, form, connections }: PostWay, size: DoorSize): Promise<Way> {
  const influxd = await startInfluxd()
  try {
    await fetch(`${influxd.url}/query?q=CREATE%20DATABASE%20bench`, { method: 'POST' })
    const pid = usageOf(process.pid).find(({ name: program }) => program === 'influxd')?.pid ?? 0
    const theirs = { port: Number(new URL(influxd.url).port), path: '/write?db=bench', authorization: undefined, form, connections }
    const [ours, peer] = await byTurns([runner, await poster({ pid, settle: async () => {} }, theirs)], size)
    return { name, ours: ours as Rate, peer, peerName: 'InfluxDB' }
  } finally {
    await influxd.stop()
  }
}

async function poster(side: Pick<Side, 'pid' | 'settle'>, options: PostOptions): Promise<Runner> {
  const child = await Child.open<Posting, Posted>('post.ts', options)
  return {
    run: seconds =>
      accounted(side, async () => {
        const { events, refusal, ...rest } = await child.ask({ seconds })
        if (refusal !== undefined) throw new Error(`${options.path}: ${refusal}`)
        return { count: events, share: 1, ...rest }
      }),
    close: () => child.close(),
  }
}
