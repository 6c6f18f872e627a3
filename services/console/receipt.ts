// Receipts: how each change of an alarm came about and reached people, put together from what the others have noted on the way.
import type { HistoryRecord } from '../../packages/core/chain.ts'
import { formatTime, parseTime } from '../../packages/core/time.ts'
import type { Delivery, DeliveryAttempt, Outbox, Told } from '../../packages/state/outbox.ts'
import type { EventRecord, ReadingStore } from '../../packages/store/store.ts'

export type ReceiptPorts = {
  readonly outbox: Pick<Outbox, 'told' | 'delivery'>
  readonly store: Pick<ReadingStore, 'events'>
  /** How long the store keeps events; 0: for ever. */
  readonly retentionMs: number
}

/** The event that began an alarm with a long `for` lies that far back among the others of its device. */
const LOOK_BACK = 5000
const LOOK_PAGE = 500
const LOOK_BACK_US = 366 * 86_400_000_000
/** Around a moment at which the event should be. */
const LOOK_NEAR = 50

/** Of those among these records, all of one alarm, that are changes; newest first. */
export async function receiptsOf(
  ports: ReceiptPorts,
  project: string,
  shown: readonly HistoryRecord[],
  all: readonly HistoryRecord[],
  nowUs: number,
) {
  const told = await ports.outbox.told(
    project,
    shown.map(({ changeId = '' }) => changeId),
  )
  const events = await eventsOf(ports, project, shown, nowUs)
  return Promise.all(shown.map((record, i) => receiptOf(ports, project, record, all, told[i] ?? [], events.get(record))))
}

async function receiptOf(
  ports: ReceiptPorts,
  project: string,
  record: HistoryRecord,
  all: readonly HistoryRecord[],
  told: readonly Told[],
  event: EventRecord | undefined,
) {
  const { seq, kind, episode, eventId, time, changeId = '' } = record
  const seen = all.find(other => other.kind === 'acknowledged' && other.episode === episode && other.seq > seq)
  return {
    seq,
    kind,
    episode,
    event: eventId === undefined ? null : eventToJson(eventId, event),
    judgedTime: time,
    deliveries: await Promise.all(told.map(one => deliveryToJson(ports.outbox, project, changeId, one))),
    acknowledged: seen ? { by: seen.by ?? '', time: seen.time, comment: seen.comment ?? '' } : null,
  }
}

/** Device by device, one query after the other. */
async function eventsOf({ store, retentionMs }: ReceiptPorts, project: string, records: readonly HistoryRecord[], nowUs: number) {
  const found = new Map<HistoryRecord, EventRecord>()
  const byDevice = new Map<string, HistoryRecord[]>()
  for (const record of records) {
    const { eventId, member, device } = record
    if (eventId !== undefined) byDevice.set(member ?? device, [...(byDevice.get(member ?? device) ?? []), record])
  }
  const edgeUs = retentionMs === 0 ? 0 : nowUs - retentionMs * 1000
  for (const [device, own] of byDevice) {
    const search = new EventSearch(store, project, device, own, edgeUs)
    await search.run()
    for (const [record, event] of search.found) found.set(record, event)
  }
  return found
}

/** For the events of several records of one device: what one query brings answers for all of them, and nothing is read twice. */
class EventSearch {
  readonly found = new Map<HistoryRecord, EventRecord>()
  readonly #store: ReceiptPorts['store']
  readonly #project: string
  readonly #device: string
  readonly #wanted: readonly HistoryRecord[]
  readonly #edgeUs: number
  /** Read from `fromUs` on, including it, up to `toUs`. */
  readonly #read: { readonly fromUs: number; readonly toUs: number }[] = []

  constructor(store: ReceiptPorts['store'], project: string, device: string, wanted: readonly HistoryRecord[], edgeUs: number) {
    this.#store = store
    this.#project = project
    this.#device = device
    this.#wanted = wanted
    this.#edgeUs = edgeUs
  }

  /** As a rule at the time of the change or where the condition began to hold; else among those before it. */
  async run(): Promise<void> {
    for (const key of ['at', 'since'] as const) {
      for (const record of this.#missing()) {
        const timeUs = timeOf(record[key])
        if (!this.found.has(record) && timeUs !== undefined && !this.#isRead(timeUs)) await this.#look(timeUs, timeUs, LOOK_NEAR)
      }
    }
    let left = LOOK_BACK / LOOK_PAGE
    for (const record of this.#missing()) {
      let toUs: number | undefined = timeOf(record.at)
      const endUs = (toUs ?? 0) - LOOK_BACK_US
      while (toUs !== undefined && left > 0 && !this.found.has(record)) {
        toUs = this.#unread(toUs)
        if (toUs < Math.max(this.#edgeUs, endUs)) break
        left--
        toUs = await this.#look(toUs, endUs, LOOK_PAGE)
      }
    }
  }

  #missing(): HistoryRecord[] {
    return this.#wanted.filter(record => !this.found.has(record))
  }

  /** @returns before which moment there may be more; undefined: there is none. */
  async #look(lastUs: number, firstUs: number, limit: number): Promise<number | undefined> {
    const fromUs = Math.max(firstUs, this.#edgeUs)
    if (fromUs > lastUs) return undefined
    const page = await this.#store.events({ project: this.#project, device: this.#device, fromUs, toUs: lastUs + 1, limit })
    const byId = new Map(page.map(event => [event.eventId, event]))
    for (const record of this.#missing()) {
      const event = byId.get(record.eventId ?? '')
      if (event) this.found.set(record, event)
    }
    const oldest = page.at(-1)
    const whole = oldest === undefined || page.length < limit
    // Of the moment at which a page ends there may be more.
    const readUs = whole ? fromUs : Math.min(oldest.timeUs + 1, lastUs)
    this.#read.push({ fromUs: readUs, toUs: lastUs + 1 })
    return whole ? undefined : readUs - 1
  }

  #isRead(timeUs: number): boolean {
    return this.#read.some(({ fromUs, toUs }) => fromUs <= timeUs && timeUs < toUs)
  }

  /** The last moment up to this one that has not been read. */
  #unread(timeUs: number): number {
    const span = this.#read.find(({ fromUs, toUs }) => fromUs <= timeUs && timeUs < toUs)
    return span === undefined ? timeUs : this.#unread(span.fromUs - 1)
  }
}

function timeOf(text: string | null | undefined): number | undefined {
  return parseTime(text ?? '')
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
