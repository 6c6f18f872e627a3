// Notifications: what the judge put into the outbox becomes one delivery per (change, channel), tried until the receiver has it.
// At least once: the receiver sees one id per delivery. Changes of one alarm reach a channel in their order.
import type { Deliveries, DeliveryJob, DeliveryVerdict, Running } from '../../../packages/queue/queue.ts'
import type { Channel } from '../../../packages/state/channel.ts'
import type { Delivery, DeliveryAttempt, Outbox } from '../../../packages/state/outbox.ts'
import type { OutboxEntry } from '../commit.ts'
import type { Attempt } from './webhook.ts'

export type NotifyPorts = {
  readonly outbox: Outbox
  readonly deliveries: Deliveries
  channel(project: string, name: string): Promise<Channel | undefined>
  send(channel: Channel, id: string, entry: OutboxEntry): Promise<Attempt>
  nowMs(): number
  random(): number
  attempted(outcome: Attempt['outcome']): void
  gaveUp(facts: { project: string; delivery: string; detail: string }): void
}

const GIVE_UP_MS = 24 * 3600_000
const FIRST_RETRY_MS = 1000
const MAX_RETRY_MS = 10 * 60_000
/** A delivery behind another one is hastened when that is done; this only makes up for a hastening that a crash or a race lost. */
const BEHIND_RETRY_MS = 15_000
/** Deliveries wait for their receivers more than they work; a receiver that hangs keeps its own share of them and no more (P5). */
const CONCURRENCY = 256
const PER_CHANNEL = 32
const SHARE_TAKEN_MS = 250

/** Turns outbox entries into deliveries with jobs; repeating it changes nothing. */
export async function drainOutbox({ outbox, deliveries }: NotifyPorts, project: string): Promise<void> {
  for (;;) {
    const entries = await outbox.read(project)
    if (entries.length === 0) return
    const created: Delivery[] = entries.flatMap(({ entry }) =>
      (entry as OutboxEntry).channels.map(channel => toDelivery(entry as OutboxEntry, channel)),
    )
    const open = await outbox.create(project, created)
    await deliveries.add(open.map(({ id }) => ({ id: jobIdOf(project, id), data: { project, delivery: id } })))
    await outbox.done(
      project,
      entries.map(({ id }) => id),
    )
  }
}

function toDelivery(entry: OutboxEntry, channel: string): Delivery {
  return {
    id: `${entry.changeId}~${channel}`,
    alarmId: entry.alarm.alarmId,
    channel,
    entry,
    state: 'open',
    attempts: 0,
    detail: '',
    createdMs: 0,
    changedMs: 0,
  }
}

export function startNotify(ports: NotifyPorts): Running {
  const shares = new Map<string, number>()
  return ports.deliveries.start(job => shared(ports, shares, job), CONCURRENCY)
}

async function shared(ports: NotifyPorts, shares: Map<string, number>, { project, delivery: id }: DeliveryJob) {
  const delivery = await ports.outbox.delivery(project, id)
  if (delivery?.state !== 'open') return undefined
  if (((await ports.outbox.firstInLine(project, delivery)) ?? id) !== id) return { retry: true, afterMs: BEHIND_RETRY_MS } as const
  const share = `${project}/${delivery.channel}`
  const taken = shares.get(share) ?? 0
  if (taken >= PER_CHANNEL) return { retry: true, afterMs: SHARE_TAKEN_MS * (1 + ports.random()) } as const
  shares.set(share, taken + 1)
  return attempt(ports, project, delivery).finally(() => {
    const left = (shares.get(share) ?? 1) - 1
    if (left === 0) shares.delete(share)
    else shares.set(share, left)
  })
}

async function attempt(ports: NotifyPorts, project: string, delivery: Delivery): Promise<DeliveryVerdict | undefined> {
  const { id } = delivery
  const startedMs = ports.nowMs()
  const channel = await ports.channel(project, delivery.channel)
  const result: Attempt = channel
    ? await ports.send(channel, `${project}.${id}`, delivery.entry as OutboxEntry)
    : { outcome: 'refused', detail: 'the channel was deleted' }
  ports.attempted(result.outcome)
  const attempts = delivery.attempts + 1
  const state = stateAfter(ports, delivery, result)
  await ports.outbox.record(
    project,
    { ...delivery, state, attempts, detail: result.detail, changedMs: ports.nowMs() },
    attemptOf(result, startedMs, ports.nowMs()),
  )
  if (state !== 'open') await hastenNext(ports, project, delivery)
  if (state === 'delivered') return undefined
  if (state === 'open')
    return { retry: true, afterMs: backoffMs(attempts, ports.random(), result.outcome === 'retry' ? result.afterMs : undefined) }
  ports.gaveUp({ project, delivery: id, detail: result.detail })
  return { retry: false, reason: result.detail }
}

function attemptOf({ outcome, status, providerId, detail }: Attempt, startedMs: number, endedMs: number): DeliveryAttempt {
  return { startedMs, durationMs: endedMs - startedMs, outcome, status, providerId, detail }
}

/** Without this a line would move by one each time its jobs look again, and an alarm that changes faster would never catch up. */
async function hastenNext({ outbox, deliveries }: NotifyPorts, project: string, delivery: Delivery): Promise<void> {
  const next = await outbox.firstInLine(project, delivery)
  if (next !== undefined) await deliveries.hasten(jobIdOf(project, next))
}

function jobIdOf(project: string, delivery: string): string {
  return `${project}~${delivery}`
}

function stateAfter(ports: NotifyPorts, delivery: Delivery, result: Attempt): Delivery['state'] {
  if (result.outcome === 'delivered') return 'delivered'
  return result.outcome === 'refused' || ports.nowMs() - delivery.createdMs > GIVE_UP_MS ? 'dead' : 'open'
}

/** 1 s, 2 s, 4 s … 10 min, each between half and the whole, never before the receiver's Retry-After. */
export function backoffMs(attempts: number, random: number, retryAfterMs: number | undefined): number {
  const full = Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(attempts - 1, 20))
  return Math.max(full * (0.5 + random / 2), Math.min(retryAfterMs ?? 0, MAX_RETRY_MS * 6))
}
