// Readers that are cut off at random, under load, on a log that holds next to nothing (P4): afterwards each must have had everything
// once and in order, or have been told exactly what is gone. `npm run chaos -- --disconnects 10000` runs it for long,
// test/resume.test.ts for short.
import { setTimeout as pause } from 'node:timers/promises'
import { createRandom, type Random } from '../packages/cli/fleet/random.ts'
import { Follower } from './follower.ts'
import { startLoad, until } from './load.ts'
import { KeepingPublisher } from './publisher.ts'
import { comparePlaces, type Given, keyOf, type Place, placeOf, Resumer } from './resumer.ts'
import { Server } from './server.ts'

export type ResumeOptions = {
  /** The load lasts until there were so many. */
  readonly disconnects: number
  readonly readers: number
  readonly rate: number
  readonly publishers: number
  /** Times that the server is killed and started again. */
  readonly kills: number
  readonly killEveryMs: number
  readonly retention: string
  readonly seed: string
  readonly influxUrl?: string | undefined
  say(text: string): void
}

export type ResumeReport = {
  readonly seconds: number
  readonly acked: number
  readonly disconnects: number
  /** Acknowledged, but not in the stream that a reader who stayed has had. */
  readonly neverStreamed: number
  /** Given to all readers together. */
  readonly delivered: number
  readonly gaps: number
  /** Events in those gaps. */
  readonly toldMissing: number
  /** Neither given nor in a gap. */
  readonly lost: number
  readonly doubled: number
  readonly disordered: number
  /** Gaps in which nothing was. */
  readonly emptyGaps: number
  /** Events in a gap that the reader was given all the same. */
  readonly falselyTold: number
  /** How often the reader who stayed was told of a gap. */
  readonly witnessGaps: number
  readonly errors: readonly string[]
}

const SETTLE_LIMIT_MS = 60_000
const STAYS_MS = 1000

export async function resume(options: ResumeOptions): Promise<ResumeReport> {
  const { influxUrl } = options
  const server = await Server.start({
    env: {
      TELLTALE_LOG_LEVEL: 'error',
      TELLTALE_LOG_MAX_SIZE: '1mb',
      TELLTALE_RETENTION: options.retention,
      TELLTALE_RATE_LIMIT: 'off',
      ...(influxUrl === undefined ? {} : { TELLTALE_INFLUX_URL: influxUrl, TELLTALE_INFLUX_DATABASE: 'resume' }),
    },
  })
  const since = new Date().toISOString()
  const witness = new Witness()
  const follower = new Follower({ port: server.httpPort, authorization: server.authorization, lines: chunk => witness.take(chunk) })
  const publishers = Array.from(
    { length: options.publishers },
    (_, i) => new KeepingPublisher({ port: server.mqttPort, login: server.login, device: `resume-${i}`, acked: () => {} }),
  )
  const readers = Array.from({ length: options.readers }, (_, i) => ({
    reader: new Resumer({ ...readerOptions(options, i), port: () => server.httpPort, authorization: server.authorization, since }),
    wants: wantsOf(options, i),
  }))
  const load = startLoad(publishers, options.rate)
  const startedMs = performance.now()
  const disconnects = () => readers.reduce((sum, { reader }) => sum + reader.disconnects, 0)
  try {
    for (let kills = 0; kills < options.kills; kills++) {
      await pause(options.killEveryMs)
      await server.kill()
      await server.restart()
      options.say(`killed the server, ${disconnects()} disconnects so far`)
    }
    await until('the disconnects', 3_600_000, () => disconnects() >= options.disconnects)
    const seconds = (performance.now() - startedMs) / 1000
    load.stop()
    await until('everything is acknowledged', SETTLE_LIMIT_MS, () => publishers.every(({ unacked }) => unacked === 0))
    const acked = publishers.flatMap(({ acked: all }, i) => all.map(({ timestamp }) => `resume-${i} ${timestamp}`))
    await until('the stream is through', SETTLE_LIMIT_MS, () => witness.events.length >= acked.length)
    for (const { reader } of readers) reader.settle()
    await until('all readers are through', SETTLE_LIMIT_MS, () => readers.every(({ reader, wants }) => isThrough(witness, reader, wants)))
    const counts = readers.map(({ reader, wants }) => compare(witness, reader.given, wants))
    const sum = (name: keyof Count) => counts.reduce((total, count) => total + count[name], 0)
    return {
      seconds,
      acked: acked.length,
      disconnects: disconnects(),
      neverStreamed: acked.filter(key => !witness.keys.has(key)).length,
      delivered: sum('delivered'),
      gaps: sum('gaps'),
      toldMissing: sum('toldMissing'),
      lost: sum('lost'),
      doubled: sum('doubled') + witness.doubled,
      disordered: sum('disordered'),
      emptyGaps: sum('emptyGaps'),
      falselyTold: sum('falselyTold'),
      witnessGaps: follower.gaps,
      errors: readers.flatMap(({ reader }) => reader.errors),
    }
  } catch (error) {
    options.say(server.state)
    throw error
  } finally {
    load.stop()
    for (const { reader } of readers) reader.stop()
    for (const publisher of publishers) publisher.stop()
    follower.stop()
    await server.stop()
  }
}

/** True when nothing was lost, doubled or out of order but for gaps that were told, exactly. */
export function told({ neverStreamed, lost, doubled, disordered, emptyGaps, falselyTold, witnessGaps, errors }: ResumeReport): boolean {
  return [neverStreamed, lost, doubled, disordered, emptyGaps, falselyTold, witnessGaps, errors.length].every(count => count === 0)
}

/** Every third follows everything, one a device, one some devices; half by SSE. */
function wantsOf({ publishers }: ResumeOptions, i: number): (key: string) => boolean {
  if (i % 3 === 0) return () => true
  const devices = devicesOf(publishers, i)
  return key => devices.some(device => key.startsWith(`${device} `))
}

function devicesOf(publishers: number, i: number): string[] {
  return Array.from({ length: i % 3 === 1 ? 1 : 3 }, (_, n) => `resume-${(i + n * 3) % publishers}`)
}

function readerOptions({ publishers, seed }: ResumeOptions, i: number) {
  const random = createRandom(seed, `reader ${i}`)
  const filter =
    i % 3 === 0
      ? ''
      : devicesOf(publishers, i)
          .map(device => `device_ids=${device}&`)
          .join('')
  return { sse: i % 2 === 0, filter, random, away: () => awayMs(random), maxConnectedMs: STAYS_MS }
}

/** As a rule back at once; now and then so late that the log, or even the store, has moved on. */
function awayMs(random: Random): number {
  const kind = random()
  if (kind < 0.9) return random() * 200
  if (kind < 0.98) return random() * 3000
  return 3000 + random() * 15_000
}

/** What a reader had who stayed: the whole stream, in its order. */
class Witness {
  readonly events: { readonly at: Place; readonly key: string }[] = []
  /** Where each event is among them. */
  readonly keys = new Map<string, number>()
  doubled = 0

  take(chunk: Buffer): void {
    for (const line of chunk.toString('latin1').split('\n')) {
      const cursor = /"cursor":"([^"]+)"\}\}$/.exec(line)?.[1]
      // Pings say how far the stream has come.
      if (cursor === undefined || line.includes('"eventType":"ping"')) continue
      const key = keyOf(line)
      if (this.keys.has(key)) this.doubled++
      this.keys.set(key, this.events.length)
      this.events.push({ at: placeOf(cursor), key })
    }
  }
}

function isThrough({ events }: Witness, { given }: Resumer, wants: (key: string) => boolean): boolean {
  const last = given.at(-1)
  const expected = events.findLast(({ key }) => wants(key))
  if (!expected || !last) return !expected
  return comparePlaces('gap' in last ? last.gap.to : last.at, expected.at) >= 0
}

type Gap = { readonly from: Place; readonly to: Place }
type Count = Record<'delivered' | 'gaps' | 'toldMissing' | 'lost' | 'doubled' | 'disordered' | 'emptyGaps' | 'falselyTold', number>

function compare(witness: Witness, given: readonly Given[], wants: (key: string) => boolean): Count {
  const order = inOrder(witness, given)
  const gaps = gapsOf(given)
  const inside = gaps.map(gap => witness.events.filter(({ at }) => isIn(gap, at)))
  const missing = witness.events.filter(({ key }) => wants(key) && !order.had.has(key))
  const toldMissing = missing.filter(({ at }) => gaps.some(gap => isIn(gap, at))).length
  return {
    delivered: order.had.size,
    gaps: gaps.length,
    toldMissing,
    lost: missing.length - toldMissing,
    doubled: order.doubled,
    disordered: order.disordered,
    emptyGaps: inside.filter(events => events.length === 0).length,
    falselyTold: inside.flat().filter(({ key }) => order.had.has(key)).length,
  }
}

function inOrder(witness: Witness, given: readonly Given[]): { had: Set<string>; doubled: number; disordered: number } {
  const counted = { had: new Set<string>(), doubled: 0, disordered: 0 }
  let before = -1
  for (const one of given) {
    if ('gap' in one) continue
    const place = witness.keys.get(one.key) ?? -1
    if (counted.had.has(one.key)) counted.doubled++
    else if (place <= before) counted.disordered++
    counted.had.add(one.key)
    before = Math.max(before, place)
  }
  return counted
}

/** Who is cut off right behind a gap is told of it again: it counts once. */
function gapsOf(given: readonly Given[]): Gap[] {
  const gaps = new Map<string, Gap>()
  for (const one of given) if ('gap' in one) gaps.set(JSON.stringify(one.gap.from), one.gap)
  return [...gaps.values()]
}

function isIn({ from, to }: Gap, at: Place): boolean {
  return comparePlaces(at, from) > 0 && comparePlaces(at, to) <= 0
}
