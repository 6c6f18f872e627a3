// What the judge wrote with its commits, read back when a worker starts or takes a project over.
import type { Redis } from 'ioredis'
import { alarmIdOf } from '../core/alarm.ts'
import type { Active } from '../core/attention.ts'
import type { DeviceEvent, EventData } from '../core/event.ts'
import { keepEvent, type Reads } from '../core/kept.ts'
import { Recent, type RecentEvent } from '../core/recent.ts'
import type { Rule } from '../core/rule.ts'
import { parseTrackRow, type TrackRow } from '../core/trackrow.ts'
import { projectKey, stateKey } from '../log/key.ts'
import { activeKey } from './alarm.ts'
import { readRule } from './rule.ts'
import { goneRule, goneShadow } from './shadow.ts'

export type Held = { readonly rule: string; readonly device: string; readonly row: TrackRow }

/** A rule as it was last, with some of its rows by device; `notify`: it was removed, and channels are to be told. */
export type Orphan = {
  readonly rule: Rule
  readonly notify: boolean
  readonly rows: Map<string, TrackRow>
  /** No others have a row. */
  readonly isLast: boolean
}
export type Orphans = { readonly leaving: readonly Orphan[]; readonly more: boolean }

/** @param series `{event type}\t{device}` */
export function recentKey(project: string, series: string): string {
  return projectKey(project, `recent:${series}`)
}

/** One recent event as it is kept. */
export function recentLine({ timeUs, entryId, listeningSinceUs, eventId, data }: RecentEvent): string {
  return `${timeUs}\t${entryId}\t${listeningSinceUs}\t${eventId}\t${JSON.stringify(data)}`
}

/** Of the newest event that was let go of. */
export function floorLine(timeUs: number): string {
  return `${timeUs}`
}

/** Of these rules and devices the pairs that have a state: number of the rule, number of the device, state. */
const HELD = `
local held = {}
for rule = 1, #KEYS do
  local rows = redis.call('HMGET', KEYS[rule], unpack(ARGV))
  for device = 1, #ARGV do
    if rows[device] then
      held[#held + 1] = rule - 1
      held[#held + 1] = device - 1
      held[#held + 1] = rows[device]
    end
  end
end
return held`

type Defined = { telltaleHeldStates(keys: number, ...args: string[]): Promise<(string | number)[]> }

/** Pairs that one script looks at, which takes some milliseconds; and devices, which Lua unpacks. */
const PAIRS_AT_ONCE = 10_000
const DEVICES_AT_ONCE = 1000

export class Judgements {
  readonly #redis: Redis & Defined

  constructor(redis: Redis) {
    redis.defineCommand('telltaleHeldStates', { lua: HELD, readOnly: true })
    this.#redis = redis as Redis & Defined
  }

  /** In the order asked for. */
  async tracks(project: string, wanted: readonly (readonly [rule: string, device: string])[]): Promise<(TrackRow | undefined)[]> {
    const byRule = new Map<string, string[]>()
    for (const [rule, device] of wanted) {
      const devices = byRule.get(rule)
      if (devices) devices.push(device)
      else byRule.set(rule, [device])
    }
    const pipeline = this.#redis.pipeline()
    for (const [rule, devices] of byRule) pipeline.hmget(stateKey(project, rule), ...devices)
    const replies = (await pipeline.exec()) ?? []
    const found = new Map<string, TrackRow>()
    for (const [k, [rule, devices]] of [...byRule].entries()) {
      const [error, rows] = replies[k] as [Error | null, (string | null)[]]
      if (error) throw error
      const known = rows.flatMap((row, i) => (row === null ? [] : [[devices[i] as string, parseTrackRow(row)] as const]))
      for (const [device, row] of await this.#numbered(project, rule, known)) found.set(`${rule}\t${device}`, row)
    }
    return wanted.map(([rule, device]) => found.get(`${rule}\t${device}`))
  }

  /** Lines of the recent events of each series (`{event type}\t{device}`), in the order asked for. */
  async recents(project: string, series: readonly string[]): Promise<string[][]> {
    if (series.length === 0) return []
    const pipeline = this.#redis.pipeline()
    for (const one of series) pipeline.lrange(recentKey(project, one), 0, -1)
    const replies = (await pipeline.exec()) ?? []
    return replies.map(reply => {
      const [error, lines] = reply as [Error | null, string[]]
      if (error) throw error
      return lines
    })
  }

  /** By rule the version that judges now and the entry after which it does, as `{version} {entry id}`. */
  async since(project: string): Promise<Record<string, string>> {
    return this.#redis.hgetall(projectKey(project, 'ruleSince'))
  }

  /** Every device that has a row of a rule. */
  async holders(project: string, rule: string): Promise<string[]> {
    return this.#redis.hkeys(stateKey(project, rule))
  }

  /** States of the first kind did not count their episodes; the alarms did. */
  async #numbered(project: string, rule: string, rows: readonly (readonly [device: string, row: TrackRow])[]) {
    const first = rows.filter(([, { r }]) => r === 0)
    if (first.length === 0) return rows
    const ids = first.map(([device]) => alarmIdOf(rule, device))
    const alarms = await this.#redis.hmget(projectKey(project, 'alarms'), ...ids)
    const numbers = new Map(first.map(([device], i) => [device, (JSON.parse(alarms[i] ?? '{}') as { episode?: number }).episode ?? 0]))
    return rows.map(([device, row]): readonly [string, TrackRow] =>
      row.r === 0 && row.s ? [device, { ...row, s: { ...row.s, episode: numbers.get(device) ?? 0 } }] : [device, row],
    )
  }

  /** Which of these rules have a state of which of these devices: few, where there are many of both. */
  async held(project: string, rules: readonly string[], devices: readonly string[]): Promise<Held[]> {
    const held: Held[] = []
    for (let d = 0; d < devices.length; d += DEVICES_AT_ONCE) {
      const ids = devices.slice(d, d + DEVICES_AT_ONCE)
      const atOnce = Math.ceil(PAIRS_AT_ONCE / ids.length)
      for (let r = 0; r < rules.length; r += atOnce) held.push(...(await this.#heldOf(project, rules.slice(r, r + atOnce), ids)))
    }
    return held
  }

  async #heldOf(project: string, rules: readonly string[], devices: readonly string[]): Promise<Held[]> {
    const flat = await this.#redis.telltaleHeldStates(rules.length, ...rules.map(rule => stateKey(project, rule)), ...devices)
    return Array.from({ length: flat.length / 3 }, (_, i) => ({
      rule: rules[flat[3 * i] as number] as string,
      device: devices[flat[3 * i + 1] as number] as string,
      row: parseTrackRow(flat[3 * i + 2] as string),
    }))
  }

  /** Timers due in server time by `nowUs`, earliest first. */
  async due(project: string, nowUs: number, limit: number): Promise<{ rule: string; device: string; dueUs: number }[]> {
    const rows = await this.#redis.zrangebyscore(projectKey(project, 'timers'), '-inf', nowUs, 'WITHSCORES', 'LIMIT', 0, limit)
    const due: { rule: string; device: string; dueUs: number }[] = []
    for (let i = 0; i < rows.length; i += 2) {
      const [rule, device] = (rows[i] as string).split('\t') as [string, string]
      due.push({ rule, device, dueUs: Number(rows[i + 1]) })
    }
    return due
  }

  /** Devices that have a timer of a rule. */
  async timed(project: string, rule: string): Promise<string[]> {
    const found = new Set<string>()
    const prefix = `${rule}\t`
    for (let cursor = ''; cursor !== '0'; ) {
      const [next, rows] = await this.#redis.zscan(projectKey(project, 'timers'), cursor || 0, 'MATCH', `${prefix}*`, 'COUNT', 1000)
      for (let i = 0; i < rows.length; i += 2) found.add((rows[i] as string).slice(prefix.length))
      cursor = next
    }
    return [...found].sort()
  }

  /** Rules that have states, or were removed, and are not enabled any more; as many rows of them as wanted, about. */
  async orphans(project: string, enabled: ReadonlySet<string>, limit: number): Promise<Orphans> {
    const [stateful, removed] = await Promise.all([
      this.#redis.smembers(projectKey(project, 'ruleStates')),
      this.#redis.hkeys(projectKey(project, 'removedRules')),
    ])
    const names = [...new Set([...stateful, ...removed])].filter(name => !enabled.has(name))
    const leaving: Orphan[] = []
    let left = limit
    for (const name of names) {
      if (left <= 0) return { leaving, more: true }
      const orphan = await this.#orphan(project, name)
      if (orphan === undefined) continue
      const { rows, isLast } = await this.#someRows(project, name, left)
      leaving.push({ ...orphan, rows, isLast })
      left -= Math.max(rows.size, 1)
      if (!isLast) return { leaving, more: true }
    }
    return { leaving, more: false }
  }

  /** From the beginning each time: those that were found before are gone by then. */
  async #someRows(project: string, rule: string, limit: number): Promise<{ rows: Map<string, TrackRow>; isLast: boolean }> {
    const found = new Map<string, TrackRow>()
    let cursor = '0'
    do {
      const [next, flat] = await this.#redis.hscan(stateKey(project, rule), cursor, 'COUNT', limit)
      for (let i = 0; i < flat.length; i += 2) found.set(flat[i] as string, parseTrackRow(flat[i + 1] as string))
      cursor = next
    } while (cursor !== '0' && found.size < limit)
    return { rows: new Map(await this.#numbered(project, rule, [...found])), isLast: cursor === '0' }
  }

  /** Undefined: it cannot be read, but is there, and may be judged again when it is saved anew. */
  async #orphan(project: string, name: string): Promise<Pick<Orphan, 'rule' | 'notify'> | undefined> {
    const shadow = goneShadow(name)
    if (shadow) return { rule: shadow, notify: false }
    const [kept, removed] = await Promise.all([
      this.#redis.hget(projectKey(project, 'rules'), name),
      this.#redis.hget(projectKey(project, 'removedRules'), name),
    ])
    const row = kept ?? removed
    if (row === null) return { rule: await this.#lost(project, name), notify: false }
    const { notifyRemoval = false, ...document } = JSON.parse(row) as { readonly notifyRemoval?: boolean }
    const read = readRule(JSON.stringify(document), name)
    if (!('problem' in read)) return { rule: read, notify: notifyRemoval }
    if (kept !== null && read.document['enabled'] !== false) return undefined
    return { rule: await this.#lost(project, name), notify: notifyRemoval }
  }

  /** Of which no document is left: only what its alarms say, which is enough to clear them. */
  async #lost(project: string, name: string): Promise<Rule> {
    const [, flat] = await this.#redis.hscan(activeKey(project, name), '0', 'COUNT', 1)
    const { group = null } = JSON.parse(flat[1] ?? '{}') as Partial<Active>
    return { ...goneRule(name), groupBy: Object.keys(group ?? {}) }
  }
}

export function recentOf(eventType: string, lines: readonly string[], reads: Reads): Recent {
  const events: RecentEvent[] = []
  let floorUs: number | undefined
  for (const line of lines) {
    const fields = line.split('\t') as [string, string?, string?, ...string[]]
    const [timeUs, entryId, listeningSinceUs, ...event] = fields
    if (entryId === undefined) floorUs = Number(timeUs)
    else {
      const at = { eventType, timeUs: Number(timeUs), entryId, listeningSinceUs: Number(listeningSinceUs) }
      events.push(keepEvent({ ...at, ...parseEvent(event) }, reads))
    }
  }
  return new Recent(events, floorUs)
}

/** Lines of an earlier version end with the whole event. */
function parseEvent([first, data]: readonly string[]): Pick<RecentEvent, 'eventId' | 'data'> {
  if (data !== undefined) return { eventId: first as string, data: JSON.parse(data) as EventData }
  const event = JSON.parse(first as string) as DeviceEvent
  return { eventId: event.eventId, data: event.data }
}

/** What the judge asks for, to be handed on one by one. */
export function judgementsOn(redis: Redis) {
  const judgements = new Judgements(redis)
  return {
    since: judgements.since.bind(judgements),
    tracks: judgements.tracks.bind(judgements),
    held: judgements.held.bind(judgements),
    holders: judgements.holders.bind(judgements),
    recents: judgements.recents.bind(judgements),
    due: judgements.due.bind(judgements),
    timed: judgements.timed.bind(judgements),
    orphans: judgements.orphans.bind(judgements),
  }
}
