// Receipts: how each change of an alarm came about and reached people, put together from what the others have noted on the way.
import type { HistoryRecord } from '../../packages/core/chain.ts'
import { formatTime, parseTime } from '../../packages/core/time.ts'
import type { Delivery, DeliveryAttempt, Outbox, Told } from '../../packages/state/outbox.ts'
import type { EventRecord, ReadingStore } from '../../packages/store/store.ts'

export type ReceiptPorts = { readonly outbox: Pick<Outbox, 'told' | 'delivery'>; readonly store: Pick<ReadingStore, 'events'> }

/** The event that began an alarm with a long `for` lies that far back among the others of its device. */
const LOOK_BACK = 5000
const LOOK_PAGE = 500
const LOOK_BACK_US = 366 * 86_400_000_000

/** Of those among these records, all of one alarm, that are changes; newest first. */
export async function receiptsOf(ports: ReceiptPorts, project: string, shown: readonly HistoryRecord[], all: readonly HistoryRecord[]) {
  const told = await ports.outbox.told(
    project,
    shown.map(({ changeId = '' }) => changeId),
  )
  return Promise.all(shown.map((record, i) => receiptOf(ports, project, record, all, told[i] ?? [])))
}

async function receiptOf(
  ports: ReceiptPorts,
  project: string,
  record: HistoryRecord,
  all: readonly HistoryRecord[],
  told: readonly Told[],
) {
  const { seq, kind, episode, eventId, time, changeId = '' } = record
  const seen = all.find(other => other.kind === 'acknowledged' && other.episode === episode && other.seq > seq)
  return {
    seq,
    kind,
    episode,
    event: eventId === undefined ? null : eventToJson(eventId, await findEvent(ports.store, project, record)),
    judgedTime: time,
    deliveries: await Promise.all(told.map(one => deliveryToJson(ports.outbox, project, changeId, one))),
    acknowledged: seen ? { by: seen.by ?? '', time: seen.time, comment: seen.comment ?? '' } : null,
  }
}

function eventToJson(eventId: string, event: EventRecord | undefined) {
  const accepted = event?.acceptedMs
  return {
    eventId,
    timestamp: event ? formatTime(event.timeUs) : null,
    acceptedTime: accepted === undefined ? null : formatTime(accepted * 1000),
    stored: event !== undefined,
  }
}

/** As a rule at the time of the change or where the condition began to hold; else among those before it. */
async function findEvent(store: ReceiptPorts['store'], project: string, record: HistoryRecord): Promise<EventRecord | undefined> {
  const { eventId, member, at, since } = record
  const device = member ?? record.device
  const times = [at, since].flatMap(text => parseTime(text ?? '') ?? [])
  for (const timeUs of times) {
    const found = (await store.events({ project, device, fromUs: timeUs, toUs: timeUs + 1, limit: LOOK_PAGE })).find(isIt)
    if (found) return found
  }
  const [toUs] = times
  if (toUs === undefined) return undefined
  const fromUs = toUs - LOOK_BACK_US
  let after: EventRecord | undefined
  for (let looked = 0; looked < LOOK_BACK; looked += LOOK_PAGE) {
    const page = await store.events({ project, device, fromUs, toUs, limit: LOOK_PAGE, after })
    const found = page.find(isIt)
    if (found || page.length < LOOK_PAGE) return found
    after = page.at(-1)
  }
  return undefined

  function isIt(event: EventRecord): boolean {
    return event.eventId === eventId
  }
}

async function deliveryToJson(outbox: ReceiptPorts['outbox'], project: string, changeId: string, { channel, createdMs, attempts }: Told) {
  const id = `${changeId}~${channel}`
  return {
    id: `${project}.${id}`,
    channel,
    state: await stateOf(outbox, project, id, attempts),
    createTime: formatTime(createdMs * 1000),
    attempts: attempts.map(attemptToJson),
  }
}

/** Says no more than the attempts do, which were read before. */
async function stateOf(
  outbox: ReceiptPorts['outbox'],
  project: string,
  id: string,
  attempts: readonly DeliveryAttempt[],
): Promise<Delivery['state']> {
  const last = attempts.at(-1)?.outcome
  if (last === 'delivered') return 'delivered'
  if (last === 'refused') return 'dead'
  // What is over is forgotten after a while; what was given up was tried for a day before.
  const delivery = await outbox.delivery(project, id)
  return delivery === undefined || delivery.state === 'dead' ? 'dead' : 'open'
}

function attemptToJson({ startedMs, durationMs, outcome, status, providerId, detail }: DeliveryAttempt) {
  return {
    time: formatTime(startedMs * 1000),
    durationMs,
    outcome,
    status: status ?? null,
    providerId: providerId ?? null,
    detail,
  }
}
