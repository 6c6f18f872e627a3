// Connections alone: what an idle one takes, and how a server stands it when all clients come back at once.
import { setTimeout as pause } from 'node:timers/promises'
import { Child } from './child.ts'
import type { Herded, HerdOptions, HerdQuestion } from './herd.ts'
import { openFilesLimit, usageOf } from './process.ts'
import type { Server } from './server.ts'
import type { Side } from './side.ts'

export type Idle = { readonly server: string; readonly clients: number; readonly perSecond: number; readonly kbEach: number }

export type Storm = {
  readonly server: string
  readonly clients: number
  /** Of each: until the last one is back. */
  readonly seconds: readonly number[]
  /** Sessions that were not there any more. */
  readonly lost: number
  readonly again: number
  /** Longest stop of the event loop. */
  readonly lagMs: number | undefined
  readonly rssMb: { readonly before: number; readonly after: number }
}

const IDLE = 5000
/** What both sides need besides a socket for each client. */
const OTHER_FILES = 1000
/** Opened and closed first: what code and buffers need is no client's memory. */
const FIRST_CLIENTS = 500
const STORMS = 3
const AFTER_MS = 60_000
const LAG_EVERY_MS = 500
const TOPIC = 'projects/default/topics/storm/d00000'

const clients = (wanted: number) => Math.max(100, Math.min(wanted, openFilesLimit() - OTHER_FILES))
const rssMb = (pid: number) => usageOf(pid).reduce((sum, one) => sum + one.rssMb, 0)

function herd(side: Side, count: number, clean: boolean): Promise<Child<HerdQuestion, Herded>> {
  const { port, login } = side
  const options: HerdOptions = { port, login, count, clean, filter: TOPIC }
  return Child.open<HerdQuestion, Herded>('herd.ts', options)
}

export async function measureIdle(side: Side): Promise<Idle> {
  process.stderr.write(`idle connections, ${side.name}\n`)
  const first = await herd(side, FIRST_CLIENTS, true)
  await first.ask('open')
  await first.close()
  await pause(2000)
  const before = rssMb(side.pid)
  const count = clients(IDLE)
  const child = await herd(side, count, true)
  try {
    const { seconds } = await child.ask('open')
    await pause(2000)
    return { server: side.name, clients: count, perSecond: count / seconds, kbEach: ((rssMb(side.pid) - before) * 1024) / count }
  } finally {
    await child.close()
  }
}

export async function measureStorms(server: Server, own: Side, other: Side | undefined, count: number): Promise<Storm[]> {
  const ours = await measureStorm(own, clients(count), () => longestStop(server))
  return [ours, ...(other ? [await measureStorm(other, clients(count), undefined)] : [])]
}

async function measureStorm(side: Side, count: number, lag: (() => Promise<number>) | undefined): Promise<Storm> {
  process.stderr.write(`storm, ${side.name}\n`)
  const child = await herd(side, count, false)
  try {
    await child.ask('open')
    await pause(2000)
    const before = rssMb(side.pid)
    const all: Herded[] = []
    const watch = watchLag(lag)
    for (let i = 0; i < STORMS; i++) all.push(await child.ask('storm'))
    const lagMs = await watch()
    await pause(AFTER_MS)
    return {
      server: side.name,
      clients: count,
      seconds: all.map(({ seconds }) => seconds),
      lost: all.reduce((sum, { present }) => sum + count - present, 0),
      again: all.reduce((sum, { again }) => sum + again, 0),
      lagMs,
      rssMb: { before, after: rssMb(side.pid) },
    }
  } finally {
    await child.close()
  }
}

/** @returns what ends the watch and tells the most that was seen. */
function watchLag(lag: (() => Promise<number>) | undefined): () => Promise<number | undefined> {
  if (!lag) return async () => undefined
  let most = 0
  let stopped = false
  const watching = (async () => {
    await lag()
    do {
      await pause(LAG_EVERY_MS)
      most = Math.max(most, await lag())
    } while (!stopped)
  })()
  return async () => {
    stopped = true
    await watching
    return most
  }
}

/** Since it was asked last, in ms. */
async function longestStop(server: Server): Promise<number> {
  const response = await fetch(`http://127.0.0.1:${server.httpPort}/metrics`, { headers: { authorization: server.authorization } })
  return Number(/^nodejs_eventloop_lag_max_seconds (\S+)$/m.exec(await response.text())?.[1]) * 1000
}
