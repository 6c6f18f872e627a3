// The device registry in Redis: who exists, of which type, with which labels, and what each reported last.
import type { Redis } from 'ioredis'
import type { Device } from '../core/device.ts'
import { Failure } from '../core/failure.ts'
import { asciiJson } from '../core/json.ts'
import { formatTime } from '../core/time.ts'
import { projectKey } from '../log/key.ts'
import type { CommitCommand } from '../log/log.ts'
import { clocksKey, type DeviceClock, parseClock } from './deviceclock.ts'
import { facetCommands, facetKey, facetMember, parseReportedPath, reportedIndexKey, scoreAt } from './deviceindex.ts'
import { checkLabels, difference, isEmpty, type LabelChange, NO_CHANGE } from './devicelabel.ts'
import { Removals } from './deviceremoval.ts'
import { DeviceScripts, type Note, type Notice } from './devicescript.ts'
import { LabelBudget } from './labelbudget.ts'

/** Newest data by event type, for example `{"temperature":{"value":21.5,…}}`. */
export type Reported = Readonly<Record<string, unknown>>

/** Tells everybody who follows the log of a change of labels, in the same step as the change. */
export type Announcer = {
  readonly consumers: readonly string[]
  nowUs(): number
  newId(): string
  wake(project: string, consumer: string): void
}

const ATTEMPTS = 20
const MAX_LABELLED = 2000

export class Devices {
  readonly #redis: Redis
  readonly #scripts: DeviceScripts
  readonly #removals: Removals
  readonly #budget: LabelBudget
  readonly #announcer: Announcer | undefined

  /** @param announcer without it nothing is put into the log. */
  constructor(redis: Redis, announcer?: Announcer) {
    this.#redis = redis
    this.#scripts = new DeviceScripts(redis)
    this.#removals = new Removals(redis)
    this.#budget = new LabelBudget(redis)
    this.#announcer = announcer
  }

  /** Makes sure that devices exist; those that do keep their type and labels. */
  async register(project: string, devices: Iterable<readonly [id: string, type: string]>): Promise<void> {
    const rows = [...devices].map(([id, type]) => [id, type, serialise({ id, type, labels: {}, productNumber: '' })] as const)
    await this.#scripts.register(project, rows)
  }

  async get(project: string, ids: readonly string[]): Promise<(Device | undefined)[]> {
    if (ids.length === 0) return []
    const rows = await this.#redis.hmget(projectKey(project, 'devices'), ...ids)
    return rows.map((row, i) => (row === null ? undefined : parse(ids[i] as string, row)))
  }

  async one(project: string, id: string): Promise<Device> {
    const [device] = await this.get(project, [id])
    if (!device) throw missing(project, id)
    return device
  }

  async count(project: string): Promise<number> {
    return this.#redis.hlen(projectKey(project, 'devices'))
  }

  /** Of all labels; undefined where there are more devices than are looked at for that. */
  async labelKeys(project: string): Promise<string[] | undefined> {
    if ((await this.count(project)) > MAX_LABELLED) return undefined
    const rows = await this.#redis.hgetall(projectKey(project, 'devices'))
    return [...new Set(Object.entries(rows).flatMap(([id, row]) => Object.keys(parse(id, row).labels)))]
  }

  /** Of this type, as the index has it. */
  async countOf(project: string, type: string): Promise<number> {
    return this.#redis.zlexcount(facetKey(project, 'type'), `[${facetMember(type, '')}`, `(${type}\u0001`)
  }

  /** Creates a device; `conflict` when there is one. */
  async create(project: string, device: Device): Promise<void> {
    checkLabels(device)
    await this.#swap(project, device.id, before => {
      if (before) throw exists(project, device.id)
      return { after: device }
    })
  }

  /** Creates a device or replaces its type, labels and product number; returns the change of labels. */
  async put(project: string, device: Device): Promise<LabelChange> {
    checkLabels(device)
    return this.#swap(project, device.id, () => ({ after: device }))
  }

  /** Adds and removes labels; `not_found` when the device does not exist. */
  async relabel(project: string, id: string, add: Device['labels'], remove: readonly string[]): Promise<LabelChange> {
    return this.edit(project, id, labels => {
      const kept = Object.entries(labels).filter(([key]) => !remove.includes(key))
      return { ...Object.fromEntries(kept), ...add }
    })
  }

  /** Replaces a device's labels by what is made of them, which is called again when somebody else was faster. */
  async edit(project: string, id: string, change: (labels: Device['labels']) => Device['labels']): Promise<LabelChange> {
    return this.#swap(project, id, before => {
      if (!before) throw missing(project, id)
      const labels = change(before.labels)
      checkLabels({ id, labels })
      return { after: { ...before, labels } }
    })
  }

  /** Takes a device out of the registry, with its labels and what it reported; its history stays. `not_found` when there is none. */
  async remove(project: string, id: string): Promise<void> {
    await this.#swap(project, id, async before => {
      if (!before) throw missing(project, id)
      return this.#cleared(project, id)
    })
    await this.#removals.add(project)
  }

  /**
   * Moves the entry with labels and reported values; history, rule states and alarms stay where they were. The projects may lie on
   * different servers, so the device is in both for a moment: `arriving` of the target says from where, and what takes it out of
   * the source decides, with a note in `left`, to whom it went. So the same call goes on after a crash, and of several targets
   * one gets it. `not_found` without the device, `conflict` when the target has one of that name.
   */
  async transfer(source: string, target: string, id: string): Promise<void> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const [row, reported] = await Promise.all([
        this.#redis.hget(projectKey(source, 'devices'), id),
        this.#redis.hgetall(reportedKey(source, id)),
      ])
      if (row === null) return this.#goOn(source, target, id)
      const device = parse(id, row)
      await this.#arrive(source, target, device, reported)
      const { commands, indexes } = await this.#reportedCommands(source, id, undefined)
      const done = await this.#scripts.change(source, {
        id,
        from: row,
        to: '',
        notice: this.#notice(source, id, difference(device, undefined)),
        commands: [['HSET', leftKey(source), id, target], ...commands, ...facetCommands(source, device, undefined)],
        indexes,
      })
      if (done === false) continue
      this.#wake(source, done)
      return this.#transferred(source, target, id)
    }
    throw busy(id)
  }

  /** Into the target, where there is none of its name unless it is this one, put there by an earlier attempt or by another process. */
  async #arrive(source: string, target: string, device: Device, reported: Record<string, string>): Promise<void> {
    const { id } = device
    await this.#swap(target, id, async before => {
      const begun = await this.#arriving(target, id)
      if (before && begun !== source) throw exists(target, id)
      const { commands, indexes } = await this.#reportedCommands(target, id, reported)
      const notes: CommitCommand[] = [
        ['HSET', arrivingKey(target), id, source],
        ['HDEL', leftKey(target), id],
      ]
      return { after: device, commands: [...notes, ...commands], indexes, note: { key: arrivingKey(target), value: begun } }
    })
  }

  /**
   * The device has left the source: for the target, or for another. Somebody else may be finishing the same transfer, and takes away
   * first `arriving`, then `left`: so what was read here holds only as long as `arriving` does.
   */
  async #goOn(source: string, target: string, id: string): Promise<void> {
    const begun = await this.#arriving(target, id)
    const taker = await this.#redis.hget(leftKey(source), id)
    if (begun === source && taker === target) return this.#transferred(source, target, id)
    if (begun === source) await this.#withdraw(source, target, id)
    throw missing(source, id)
  }

  async #transferred(source: string, target: string, id: string): Promise<void> {
    await this.#removals.add(source)
    await this.#scripts.dropNote(arrivingKey(target), id, source)
    await this.#scripts.dropNote(leftKey(source), id, target)
  }

  /** Another project got the device: what was put here for it goes again, unless it is here to stay. */
  async #withdraw(source: string, target: string, id: string): Promise<void> {
    await this.#swap(target, id, async () => {
      if ((await this.#arriving(target, id)) !== source) return undefined
      return { ...(await this.#cleared(target, id)), note: { key: arrivingKey(target), value: source } }
    })
    await this.#removals.add(target)
  }

  /** From which project a device is on its way here; '' when none is. */
  async #arriving(project: string, id: string): Promise<string> {
    return (await this.#redis.hget(arrivingKey(project), id)) ?? ''
  }

  /** Puts a device into indexes that were begun after it was registered; nothing else changes. */
  async reindex(project: string, ids: readonly string[]): Promise<void> {
    let left = ids
    for (let attempt = 0; attempt < ATTEMPTS && left.length > 0; attempt++) {
      const batch = left
      const rows = await this.#redis.hmget(projectKey(project, 'devices'), ...batch)
      const done = await Promise.all(
        rows.map(async (row, i) => {
          const id = batch[i] as string
          // Removed meanwhile: there is nothing to put into an index.
          if (row === null) return true
          const commands = facetCommands(project, undefined, parse(id, row))
          return (await this.#scripts.change(project, { id, from: row, to: row, notice: undefined, commands })) !== false
        }),
      )
      left = batch.filter((_, i) => !done[i])
    }
  }

  /** @param plan asked again whenever others were faster; undefined: nothing is left to do. */
  async #swap(
    project: string,
    id: string,
    plan: (before: Device | undefined) => Plan | undefined | Promise<Plan | undefined>,
  ): Promise<LabelChange> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const from = (await this.#redis.hget(projectKey(project, 'devices'), id)) ?? ''
      const before = parseRow(id, from)
      const planned = await plan(before)
      if (!planned) return NO_CHANGE
      const { after, commands: more = [], indexes, note } = planned
      const to = after ? serialise(after) : ''
      if (from === to && more.length === 0) return NO_CHANGE
      const labels = difference(before, after)
      await this.#budget.spend(project, labels)
      // A device without labels that is only just there is no news; one whose type changed is, to filters and rules.
      const isNews = from !== to && (before !== undefined || !isEmpty(labels))
      const notice = isNews ? this.#notice(project, id, labels) : undefined
      const commands = [...facetCommands(project, before, after), ...more]
      const done = await this.#scripts.change(project, { id, from, to, notice, commands, indexes, note })
      if (done === false) continue
      this.#wake(project, done)
      return labels
    }
    throw busy(id)
  }

  #notice(project: string, device: string, labels: LabelChange): Notice | undefined {
    if (!this.#announcer) return undefined
    const timeUs = this.#announcer.nowUs()
    const frame = asciiJson({
      eventId: this.#announcer.newId(),
      targetName: `projects/${project}/devices/${device}`,
      eventType: 'labelsChanged',
      data: labels,
      timestamp: formatTime(timeUs),
    })
    return { device, timeUs, frame, consumers: this.#announcer.consumers }
  }

  #wake(project: string, consumers: readonly string[]): void {
    for (const consumer of consumers) this.#announcer?.wake(project, consumer)
  }

  /** Nothing stays of it. */
  async #cleared(project: string, id: string): Promise<Plan> {
    const { commands, indexes } = await this.#reportedCommands(project, id, undefined)
    const notes: CommitCommand[] = [
      ['HDEL', arrivingKey(project), id],
      ['HDEL', clocksKey(project), id],
    ]
    return { after: undefined, commands: [...notes, ...commands], indexes }
  }

  /** Replaces what a device reported last, as rows by event type, and its places in the indexes of that; undefined: nothing. */
  async #reportedCommands(
    project: string,
    id: string,
    rows: Record<string, string> | undefined,
  ): Promise<{ commands: CommitCommand[]; indexes: readonly string[] }> {
    const indexes = await this.#redis.hkeys(projectKey(project, 'indexes'))
    const commands: CommitCommand[] = [['DEL', reportedKey(project, id)]]
    const pairs = Object.entries(rows ?? {}).flat()
    if (pairs.length > 0) commands.push(['HSET', reportedKey(project, id), ...pairs])
    for (const text of indexes.filter(name => name !== 'facets')) {
      const path = parseReportedPath(text)
      const row = rows?.[path.eventType]
      const score = row === undefined ? undefined : scoreAt(parseReported(row).data, path)
      const key = reportedIndexKey(project, text)
      commands.push(score === undefined ? ['ZREM', key, id] : ['ZADD', key, score, id])
    }
    return { commands, indexes }
  }

  /** What is wrong with their clocks, as far as anything is. */
  async clocks(project: string, ids: readonly string[]): Promise<(DeviceClock | undefined)[]> {
    if (ids.length === 0) return []
    const rows = await this.#redis.hmget(clocksKey(project), ...ids)
    return rows.map(row => (row === null ? undefined : parseClock(row)))
  }

  async reported(project: string, ids: readonly string[]): Promise<Reported[]> {
    const pipeline = this.#redis.pipeline()
    for (const id of ids) pipeline.hgetall(reportedKey(project, id))
    const rows = (await pipeline.exec()) ?? []
    return rows.map(([error, row]) => {
      if (error) throw error
      return Object.fromEntries(Object.entries(row as Record<string, string>).map(([type, value]) => [type, parseReported(value).data]))
    })
  }
}

/** What becomes of a device, and what goes with it in the same step. */
type Plan = {
  readonly after: Device | undefined
  readonly commands?: readonly CommitCommand[]
  /** As in RowChange. */
  readonly indexes?: readonly string[]
  readonly note?: Note
}

function exists(project: string, id: string): Failure {
  return new Failure('conflict', `device ${id} already exists in project ${project}`, { field: 'device' })
}

function busy(id: string): Failure {
  return new Failure('conflict', `device ${id} is being changed by others: try again`)
}

/** Hash of the devices that are moving here: from which project. */
function arrivingKey(project: string): string {
  return projectKey(project, 'arriving')
}

/** Hash of the devices that have just moved away: to which project. */
function leftKey(project: string): string {
  return projectKey(project, 'left')
}

function missing(project: string, id: string): Failure {
  return new Failure('not_found', `device ${id} does not exist in project ${project}`, { field: 'device' })
}

/** A device's last values: hash of event type → `{timeUs} {data as JSON}`. */
export function reportedKey(project: string, device: string): string {
  return projectKey(project, `reported:${device}`)
}

export function parseReported(value: string): { timeUs: number; data: unknown } {
  const at = value.indexOf(' ')
  return { timeUs: Number(value.slice(0, at)), data: JSON.parse(value.slice(at + 1)) }
}

function serialise(device: Device): string {
  return JSON.stringify({ type: device.type, labels: device.labels, productNumber: device.productNumber })
}

/** '' when there is none. */
function parseRow(id: string, row: string): Device | undefined {
  return row === '' ? undefined : parse(id, row)
}

function parse(id: string, row: string): Device {
  return { id, ...(JSON.parse(row) as Omit<Device, 'id'>) }
}
