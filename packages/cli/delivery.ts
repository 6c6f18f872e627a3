// One run of sending: opens the transport, feeds it, waits for the acks, and says what became of every event.
import { type Course, startProgress } from './progress.ts'
import type { Target } from './target.ts'
import type { Terminal } from './terminal.ts'
import { openHttp } from './transport/http.ts'
import { Ledger } from './transport/ledger.ts'
import { openMqtt } from './transport/mqtt.ts'
import type { Transport } from './transport/transport.ts'

export type Plan = {
  readonly protocol: 'mqtt' | 'http'
  readonly qos: 0 | 1
  readonly connections: number
  readonly maxBatch: number
  /** Events sent and not yet answered for, over all connections. */
  readonly maxOutstanding: number
}

export type Delivery = {
  readonly offered: number
  readonly sent: number
  readonly acked: number
  readonly unconfirmed: number
  readonly refused: number
  readonly unacked: number
  readonly retried: number
  readonly reconnects: number
  readonly worstAckMs: number
  readonly seconds: number
  readonly interrupted: boolean
  readonly refusals: readonly { readonly reason: string; readonly events: number }[]
  readonly failure: string | undefined
}

/** How long the last acks may take: at the end of a run, and after Ctrl-C. */
const SETTLE_MS = 30_000
const INTERRUPTED_SETTLE_MS = 5000

export type Feed = (transport: Transport) => Promise<void>

/** No course: no progress is drawn. */
export async function deliver(target: Target, plan: Plan, terminal: Terminal, course: Course | undefined, feed: Feed): Promise<Delivery> {
  const ledger = new Ledger(plan.maxOutstanding, terminal.stopped)
  const transport = plan.protocol === 'mqtt' ? await openMqtt(target, plan, ledger, terminal.stopped) : openHttp(target, plan, ledger)
  const started = performance.now()
  const progress = course === undefined ? undefined : startProgress(terminal, ledger, course)
  let seconds = 0
  try {
    await feed(transport)
    await ledger.settle(SETTLE_MS, terminal.stopped)
    if (terminal.stopped.aborted) await ledger.settle(INTERRUPTED_SETTLE_MS)
    seconds = (performance.now() - started) / 1000
  } finally {
    progress?.stop()
    await transport.close()
  }
  // Nothing was answered: the failure is the whole story.
  if (ledger.failure !== undefined && ledger.acked + ledger.refused + ledger.unconfirmed === 0) throw ledger.failure
  return outcomeOf(ledger, seconds, terminal.stopped.aborted)
}

function outcomeOf(ledger: Ledger, seconds: number, interrupted: boolean): Delivery {
  const { offered, sent, acked, unconfirmed, refused, retried, reconnects } = ledger
  const refusals = [...ledger.refusals].map(([reason, events]) => ({ reason, events }))
  const times = { worstAckMs: Math.round(ledger.worstAckMs), seconds: Number(seconds.toFixed(3)) }
  const failure = ledger.failure?.message
  return {
    offered,
    sent,
    acked,
    unconfirmed,
    refused,
    unacked: ledger.outstanding,
    retried,
    reconnects,
    ...times,
    interrupted,
    refusals,
    failure,
  }
}

/** Everything that was handed over has been taken. */
export function isComplete({ unacked, refused, failure }: Delivery): boolean {
  return unacked === 0 && refused === 0 && failure === undefined
}

/** Waits for the room that `send` asked to wait for. False: the run is over. */
export async function hasRoom(transport: Transport, room: Promise<void> | undefined, stopped: AbortSignal): Promise<boolean> {
  if (room !== undefined) await room
  return !stopped.aborted && transport.ledger.failure === undefined
}
