// Draining: a consumer reads its project's log from its committed place, works, and commits its effects together with the new place.
import { Failure } from '../../packages/core/failure.ts'
import type { LogEntry, LogEvent } from '../../packages/log/entry.ts'
import type { CommitCommand, Log } from '../../packages/log/log.ts'
import type { Refused } from '../../packages/state/quarantine.ts'

export type Consumer = {
  readonly name: string
  /**
   * The effects of these entries, to be committed with the place. Throws Failure `unavailable` to be asked again later; anything
   * else it throws is held against the events, which are then given one by one.
   */
  take(project: string, entries: readonly LogEntry[]): Promise<CommitCommand[]>
  /** Asked when the log is drained: effects that the passing of time has, if any. */
  idle?(project: string): Promise<CommitCommand[]>
  /** What was taken is committed. */
  committed?(project: string): Promise<void>
  /** What was taken was not committed: whatever is remembered of the project may be wrong. */
  forget(project: string): void
}

export type DrainPorts = {
  readonly log: Log
  quarantine(project: string, refused: readonly Refused[]): Promise<void>
  /** Wakes the consumer once more, after the other projects. */
  again(project: string, consumer: string): void
  committed(consumer: string, events: number): void
  poisoned(consumer: string, event: LogEvent, error: unknown): void
}

/** After this the project goes to the back of the line. */
const SLICE_MS = 100
const READ_ENTRIES = 20
/** A consumer whose store is away is not woken again for this long. */
const PAUSE_MS = 1000

/** Works until the log is drained or the slice is over. */
export async function drain(ports: DrainPorts, consumer: Consumer, project: string): Promise<void> {
  await ports.log.clearWake(project, consumer.name)
  try {
    if (await drainSlice(ports, consumer, project)) return
  } catch (error) {
    consumer.forget(project)
    await ports.log.setWake(project, consumer.name, PAUSE_MS)
    throw error
  }
  if (await ports.log.setWake(project, consumer.name)) ports.again(project, consumer.name)
}

/** True when nothing is left to do. */
async function drainSlice(ports: DrainPorts, consumer: Consumer, project: string): Promise<boolean> {
  const endMs = performance.now() + SLICE_MS
  let place = await ports.log.place(project, consumer.name)
  for (;;) {
    const entries = await ports.log.read(project, entryIdOf(place), READ_ENTRIES)
    const commands = entries.length > 0 ? await takeAll(ports, consumer, project, entries) : ((await consumer.idle?.(project)) ?? [])
    if (entries.length === 0 && commands.length === 0) return true
    const next = nextPlace(place, entries.at(-1)?.id)
    if (!(await ports.log.commit(project, consumer.name, place, next, commands))) {
      // Another worker has the partition now; it does what is left.
      consumer.forget(project)
      return true
    }
    ports.committed(consumer.name, count(entries))
    await consumer.committed?.(project)
    place = next
    if (performance.now() > endMs) return false
  }
}

/** A place is `{entry id} {number of the commit}`: the number tells two commits at one entry apart. */
export function entryIdOf(place: string): string {
  return place === '' ? '0-0' : (place.split(' ', 1)[0] as string)
}

function nextPlace(place: string, entryId: string | undefined): string {
  return `${entryId ?? entryIdOf(place)} ${Number(place.split(' ')[1] ?? 0) + 1}`
}

function count(entries: readonly LogEntry[]): number {
  return entries.reduce((sum, entry) => sum + entry.events.length, 0)
}

async function takeAll(ports: DrainPorts, consumer: Consumer, project: string, entries: readonly LogEntry[]): Promise<CommitCommand[]> {
  try {
    return await consumer.take(project, entries)
  } catch (error) {
    if (error instanceof Failure && error.code === 'unavailable') throw error
    consumer.forget(project)
    return takeSingly(ports, consumer, project, entries)
  }
}

/** Takes the culprits out alone: its neighbours go through, an event that cannot be digested goes to the quarantine. */
async function takeSingly(ports: DrainPorts, consumer: Consumer, project: string, entries: readonly LogEntry[]): Promise<CommitCommand[]> {
  const commands: CommitCommand[] = []
  for (const entry of entries)
    for (const event of entry.events)
      try {
        commands.push(...(await consumer.take(project, [{ id: entry.id, events: [event] }])))
      } catch (error) {
        if (error instanceof Failure && error.code === 'unavailable') throw error
        ports.poisoned(consumer.name, event, error)
        await ports.quarantine(project, [poison(consumer.name, event, error)])
      }
  return commands
}

function poison(consumer: string, event: LogEvent, error: unknown): Refused {
  const reason = `${consumer} could not digest this event: ${error instanceof Error ? error.message : String(error)}`
  return { source: `log of device ${event.device}`, keyId: '', field: '', reason, payload: Buffer.from(event.frame) }
}
