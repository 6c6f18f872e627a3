// Crashes under load, and the count afterwards: what was acknowledged is stored once and streamed once (P1, P2, P4).
// `npm run chaos` runs it for long, test/crash.test.ts for short.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { createRandom, type Random } from '../packages/cli/fleet/random.ts'
import { Follower } from './follower.ts'
import { startLoad, until } from './load.ts'
import { KeepingPublisher, type Sent } from './publisher.ts'
import { Server } from './server.ts'
import { monotonicUs } from './wire.ts'

/** `server`: all of Telltale's own process. `redis`: its Redis alone. `both`: as if the machine had stopped. */
export const VICTIMS = ['server', 'redis', 'both'] as const
export type Victim = (typeof VICTIMS)[number]

export type CrashOptions = {
  readonly victims: readonly Victim[]
  /** How long the load lasts; the kills fall into it at random. */
  readonly seconds: number
  readonly rate: number
  readonly publishers: number
  readonly seed: string
  say(text: string): void
}

export type Recovery = {
  readonly victim: Victim
  /** From the kill to the first acknowledgement of something sent after it. */
  readonly ackMs: number
  /** From the kill to the first event of the stream that was sent after it. */
  readonly streamMs: number
}

export type Count = {
  readonly missing: number
  readonly doubled: number
  /** Not what was sent: another value, another id, or never sent at all. */
  readonly wrong: number
}

export type CrashReport = {
  readonly acked: number
  readonly resent: number
  readonly recoveries: readonly Recovery[]
  readonly drainMs: number
  readonly stored: Count
  readonly streamed: Count & { readonly resumes: number; readonly gaps: number }
}

const RECOVERY_LIMIT_MS = 30_000
const DRAIN_LIMIT_MS = 60_000
const PAGE = 1000

type Found = {
  readonly eventId: string
  readonly timestamp: string
  readonly targetName: string
  readonly data: { temperature?: { value?: number } }
}

export async function crash(options: CrashOptions): Promise<CrashReport> {
  const server = await Server.start({ env: { TELLTALE_LOG_LEVEL: 'error' } })
  const sinceUs = Date.now() * 1000
  const watch = new Watch()
  const streamed = new Tally()
  const follower = new Follower({
    port: server.httpPort,
    authorization: server.authorization,
    lines: chunk => watch.follow(chunk, streamed),
  })
  const publishers = Array.from(
    { length: options.publishers },
    (_, i) =>
      new KeepingPublisher({ port: server.mqttPort, login: server.login, device: `crash-${i}`, acked: sentUs => watch.acked(sentUs) }),
  )
  const load = startLoad(publishers, options.rate)
  try {
    const recoveries = await killAll(server, options, watch)
    load.stop()
    const startedMs = performance.now()
    await until('everything is acknowledged', DRAIN_LIMIT_MS, () => publishers.every(({ unacked }) => unacked === 0))
    const acked = publishers.reduce((sum, one) => sum + one.acked.length, 0)
    await until('the consumers are through', DRAIN_LIMIT_MS, () => drained(server))
    // What is missing in the stream is missing for good when it has been silent for a while.
    await until('the stream is through', DRAIN_LIMIT_MS, () => streamed.size >= acked || watch.silentMs() > 5000)
    const drainMs = performance.now() - startedMs
    const stored = new Tally()
    for (const i of publishers.keys()) await readBack(server, `crash-${i}`, sinceUs, stored)
    const { resumes, gaps } = follower
    return {
      acked,
      resent: publishers.reduce((sum, one) => sum + one.resent, 0),
      recoveries,
      drainMs: Math.round(drainMs),
      stored: stored.compare(publishers),
      streamed: { ...streamed.compare(publishers), resumes, gaps },
    }
  } catch (error) {
    options.say(server.state)
    throw error
  } finally {
    load.stop()
    for (const publisher of publishers) publisher.stop()
    follower.stop()
    await server.stop()
  }
}

/** True when nothing acknowledged was lost or doubled; a part of the stream may be gone if the server said so. */
export function kept({ stored, streamed }: CrashReport): boolean {
  const clean = (count: Count) => count.doubled === 0 && count.wrong === 0
  return clean(stored) && stored.missing === 0 && clean(streamed) && (streamed.missing === 0 || streamed.gaps > 0)
}

async function killAll(server: Server, { victims, seconds, seed, say }: CrashOptions, watch: Watch): Promise<Recovery[]> {
  const random = createRandom(seed, 'crash')
  const recoveries: Recovery[] = []
  const endMs = performance.now() + seconds * 1000
  await until('the first event is streamed', RECOVERY_LIMIT_MS, () => watch.recovered() !== undefined)
  for (const [i, victim] of victims.entries()) {
    await pause(untilNext(random, endMs, victims.length - i))
    watch.killed()
    await kill(server, victim)
    await until(`service after the death of ${victim}`, RECOVERY_LIMIT_MS, () => watch.recovered() !== undefined)
    const recovery = { victim, ...(watch.recovered() as Omit<Recovery, 'victim'>) }
    say(`killed ${victim}: acknowledging again after ${recovery.ackMs} ms, streaming after ${recovery.streamMs} ms`)
    recoveries.push(recovery)
  }
  await pause(Math.max(0, endMs - performance.now()))
  return recoveries
}

/** A random part of what is left, so that the kills are spread. */
function untilNext(random: Random, endMs: number, left: number): number {
  return (Math.max(0, endMs - performance.now()) / (left + 1)) * (0.2 + 1.3 * random())
}

async function kill(server: Server, victim: Victim): Promise<void> {
  const redis = await redisPid(server)
  if (victim !== 'server') process.kill(redis, 'SIGKILL')
  if (victim === 'redis') return
  await server.kill()
  await server.restart()
}

/** The note that Telltale keeps of its Redis. */
async function redisPid({ dataDir }: Server): Promise<number> {
  const note = await readFile(join(dataDir, 'redis', 'running.json'), 'utf8')
  return (JSON.parse(note) as { server: { pid: number } }).server.pid
}

async function drained(server: Server): Promise<boolean> {
  const { consumers } = await server.request<{ consumers: Record<string, { lagMs: number }> }>('GET', 'status')
  return Object.values(consumers).every(({ lagMs }) => lagMs === 0)
}

/** Sees when acknowledgements and the stream go on after a kill. */
class Watch {
  #killedUs = monotonicUs()
  #killedAt = Date.now()
  #ackMs: number | undefined
  #streamMs: number | undefined
  #heardMs = performance.now()

  killed(): void {
    this.#killedUs = monotonicUs()
    this.#killedAt = Date.now()
    this.#ackMs = undefined
    this.#streamMs = undefined
  }

  acked(sentUs: number): void {
    if (sentUs > this.#killedUs) this.#ackMs ??= Math.round((monotonicUs() - this.#killedUs) / 1000)
  }

  follow(chunk: Buffer, tally: Tally): void {
    this.#heardMs = performance.now()
    for (const line of chunk.toString('latin1').split('\n')) {
      const event = line === '' ? undefined : (JSON.parse(line) as { result?: { event?: Found } }).result?.event
      if (event?.data?.temperature === undefined) continue
      tally.add(event)
      if (Date.parse(event.timestamp) > this.#killedAt) this.#streamMs ??= Math.round((monotonicUs() - this.#killedUs) / 1000)
    }
  }

  silentMs(): number {
    return performance.now() - this.#heardMs
  }

  recovered(): Omit<Recovery, 'victim'> | undefined {
    if (this.#ackMs === undefined || this.#streamMs === undefined) return undefined
    return { ackMs: this.#ackMs, streamMs: this.#streamMs }
  }
}

/** What arrived somewhere, by device and time: each publisher gives every event a time of its own. */
class Tally {
  readonly #found = new Map<string, Found[]>()

  get size(): number {
    return this.#found.size
  }

  add(event: Found): void {
    const device = event.targetName.slice(event.targetName.lastIndexOf('/') + 1)
    const key = `${device} ${event.timestamp}`
    const known = this.#found.get(key)
    if (known) known.push(event)
    else this.#found.set(key, [event])
  }

  compare(publishers: readonly KeepingPublisher[]): Count {
    let missing = 0
    let wrong = 0
    let known = 0
    for (const [i, { acked }] of publishers.entries())
      for (const sent of acked) {
        const found = this.#found.get(`crash-${i} ${sent.timestamp}`)
        if (!found) missing++
        else if (!found.every(event => isSame(sent, event))) wrong++
        if (found) known++
      }
    const doubled = [...this.#found.values()].filter(({ length }) => length > 1).length
    return { missing, doubled, wrong: wrong + this.#found.size - known }
  }
}

function isSame(sent: Sent, { eventId, data }: Found): boolean {
  return data.temperature?.value === sent.value && (sent.eventId === undefined || sent.eventId === eventId)
}

async function readBack(server: Server, device: string, sinceUs: number, tally: Tally): Promise<void> {
  const range = `startTime=${encodeURIComponent(new Date(sinceUs / 1000 - 60_000).toISOString())}`
  for (let token = ''; ; ) {
    const path = `devices/${device}/events?pageSize=${PAGE}&${range}${token === '' ? '' : `&pageToken=${encodeURIComponent(token)}`}`
    const page = await server.request<{ events: Found[]; nextPageToken: string }>('GET', path)
    for (const event of page.events) tally.add(event)
    token = page.nextPageToken
    if (token === '') return
  }
}
