// The judge: each event meets the rules that select its device, and what that changes is committed together with the place in the
// log (P3). All it remembers is written through with every commit, so a crash anywhere repeats the read and changes nothing twice.
import { judgedUs } from '../../packages/core/clock.ts'
import type { Device } from '../../packages/core/device.ts'
import type { DeviceEvent } from '../../packages/core/event.ts'
import { alarmDeviceOf } from '../../packages/core/group.ts'
import { keepEvent } from '../../packages/core/kept.ts'
import { type Break, listeningFor } from '../../packages/core/listening.ts'
import type { RecentEvent } from '../../packages/core/recent.ts'
import { type Rule, selects } from '../../packages/core/rule.ts'
import { type EventInput, retire } from '../../packages/core/step.ts'
import { type Around, type Followed, followEvent, followTime, settle } from '../../packages/core/track.ts'
import { parseTrackRow, standing, type TrackRow } from '../../packages/core/trackrow.ts'
import type { LogEntry, LogEvent } from '../../packages/log/entry.ts'
import type { CommitCommand } from '../../packages/log/log.ts'
import { floorLine, type Held, recentLine } from '../../packages/state/judgement.ts'
import { ruleOfShadow, shadowCommand, shadowName } from '../../packages/state/shadow.ts'
import type { Alarming } from './alarming.ts'
import { dropRecents, isFull, type Judgement, newJudgement, stateCommands } from './commit.ts'
import type { Consumer, Read } from './drain.ts'
import { Leave, type LeavePorts, parseSince, sinceOf, UNKNOWN } from './leave.ts'
import { isWorthWriting, Memory, type MemoryPorts, unknownDevice } from './memory.ts'
import { RuleSet } from './ruleset.ts'
import { type Kind, newestOffsetOf, offsetOf, type Seat, type Seen } from './seat.ts'
import { type Arrived, spansOf } from './span.ts'

/** A timer in server time. */
export type Due = { readonly rule: string; readonly device: string; readonly dueUs: number }

export type JudgePorts = MemoryPorts &
  LeavePorts & {
    rulesVersion(project: string): Promise<string>
    rules(project: string): Promise<Rule[]>
    /** By rule `{version} {entry id}`: since when that version judges. */
    since(project: string): Promise<Readonly<Record<string, string>>>
    /** Those that there are of these rules and devices. */
    held(project: string, rules: readonly string[], devices: readonly string[]): Promise<Held[]>
    /** Rules and devices whose timer is due by now. */
    due(project: string, nowUs: number, limit: number): Promise<Due[]>
    readonly alarming: Pick<Alarming, 'commands' | 'due' | 'committed' | 'takeTurn' | 'forget'>
    /** When this installation was not receiving, in order. */
    breaks(): Promise<readonly Break[]>
    nowUs(): number
    /** The outbox has something for a project. */
    notify(project: string): Promise<void>
    /** Events may be this much older than the newest of their device and type, and are put in order. */
    readonly latenessMs: number
    /** As in DrainPorts. */
    pass?(point: string): Promise<void>
  }

/** Events still on their way may be this much older than the moment a timer is judged by the server's clock. */
const GRACE_US = 2_000_000
const DUE_LIMIT = 500
const PATIENCE_US = 30_000_000
const ALWAYS = Number.NEGATIVE_INFINITY
/** Then all is forgotten, and read again as it is needed. */
const MAX_REMEMBERED = 2_000_000
const NO_LONGER = 'the rule no longer selects the device'

/** What is about to be committed: how it is made of what was judged, and the first event that is left for the next commit. */
type UnderWay = { readonly make: () => Promise<CommitCommand[]>; readonly cut: LogEvent | undefined }

type Wanted = Arrived & { readonly seen: Seen; readonly kind: Kind }

export class Judge implements Consumer {
  readonly name = 'judge'
  readonly #ports: JudgePorts
  readonly #latenessUs: number
  readonly #memories = new Map<string, Memory>()
  readonly #leave: Leave
  /** Whose commit under way has something for the outbox. */
  readonly #toNotify = new Set<string>()
  readonly #underWay = new Map<string, UnderWay>()

  constructor(ports: JudgePorts) {
    this.#ports = ports
    this.#latenessUs = ports.latenessMs * 1000
    this.#leave = new Leave(ports)
  }

  forget(project: string): void {
    this.#memories.delete(project)
    this.#toNotify.delete(project)
    this.#underWay.delete(project)
    this.#leave.forget(project)
    this.#ports.alarming.forget(project)
  }

  cut(project: string): LogEvent | undefined {
    return this.#underWay.get(project)?.cut
  }

  /** What was judged stands; only what it does to alarms is made anew, of the alarms as people have left them, who wait meanwhile. */
  async again(project: string): Promise<CommitCommand[]> {
    const { make } = this.#underWay.get(project) as UnderWay
    this.#toNotify.delete(project)
    return [await this.#ports.alarming.takeTurn(project), ...(await make())]
  }

  async committed(project: string): Promise<void> {
    this.#underWay.delete(project)
    this.#ports.alarming.committed(project)
    if (this.#toNotify.delete(project)) await this.#ports.notify(project)
  }

  async take(project: string, entries: readonly LogEntry[], { after, isInside = false }: Read): Promise<CommitCommand[]> {
    const memory = this.#recall(project)
    const judgement = newJudgement()
    // A rule judges whole entries: one that was begun with the rules as they were is ended with them.
    if (!isInside || memory.rules.version === '') await this.#refresh(project, memory, judgement, after)
    await this.#ports.pass?.('refreshed')
    const cut = await this.#judgeAll(project, memory, judgement, entries)
    await this.#ports.pass?.('judged')
    return this.#make(project, () => this.#commands(project, memory, judgement), cut)
  }

  /** The log is drained: time passes for devices that have gone quiet. */
  async idle(project: string, after: string): Promise<CommitCommand[]> {
    const memory = this.#recall(project)
    const judgement = newJudgement()
    await this.#refresh(project, memory, judgement, after)
    await this.#ports.pass?.('refreshed')
    const nowUs = this.#ports.nowUs()
    const due = await this.#ports.due(project, nowUs - GRACE_US, DUE_LIMIT)
    if (due.length > 0) await this.#passTime(project, memory, judgement, due, nowUs)
    await this.#ports.pass?.('time passed')
    const commands = await this.#make(project, () => this.#commands(project, memory, judgement))
    return commands.length > 0 ? commands : this.#make(project, () => this.#attention(project, memory))
  }

  async #make(project: string, make: () => Promise<CommitCommand[]>, cut?: LogEvent): Promise<CommitCommand[]> {
    this.#underWay.set(project, { make, cut })
    return make()
  }

  /** Until there is enough for one commit: returns the first event that was left. */
  async #judgeAll(project: string, memory: Memory, judgement: Judgement, entries: readonly LogEntry[]): Promise<LogEvent | undefined> {
    memory.breaks = await this.#ports.breaks()
    for (const { relabelled, arrived } of spansOf(memory.rules, entries)) {
      if (relabelled.length > 0) {
        if (isFull(judgement)) return relabelled[0]
        await this.#relabel(project, memory, judgement, [...new Set(relabelled.map(({ device }) => device))])
      }
      const wanted = await this.#select(memory, judgement, arrived)
      await this.#ports.pass?.('loaded')
      for (const one of wanted) {
        if (isFull(judgement)) return one.event
        this.#judge(memory, judgement, one)
      }
    }
    return undefined
  }

  /** What would be told as soon as the log is drained must not wait for that for ever. */
  async busy(project: string): Promise<CommitCommand[]> {
    const memory = this.#recall(project)
    const nowUs = this.#ports.nowUs()
    memory.attendedUs ??= nowUs
    return nowUs - memory.attendedUs < PATIENCE_US ? [] : this.#attention(project, memory)
  }

  async #passTime(project: string, memory: Memory, judgement: Judgement, due: readonly Due[], nowUs: number): Promise<void> {
    memory.breaks = await this.#ports.breaks()
    const found = await memory.see(due.map(({ device }) => device))
    const seats = due.map(({ rule, device }) => found.get(device)?.seats.get(rule))
    await memory.load(
      judgement,
      seats.flatMap((seat, i) => (seat ? [{ seat, seen: found.get((due[i] as Due).device) as Seen }] : [])),
    )
    const left: Due[] = []
    for (const [i, one] of due.entries()) {
      const seat = seats[i]
      const dueUs = seat?.track.current.dueUs
      // A timer that nothing waits for any more.
      if (seat && dueUs === undefined) judgement.timers.set(`${one.rule}\t${one.device}`, undefined)
      if (!seat) left.push(one)
      if (!seat || dueUs === undefined) continue
      // How far the device's clock is behind the server's: by this the timer was put into server time.
      const offsetUs = newestOffsetOf(seat) ?? (one.dueUs === UNKNOWN ? 0 : one.dueUs - dueUs)
      // An edit has put it off since the timer was set.
      if (dueUs + offsetUs > Math.max(one.dueUs, nowUs - GRACE_US)) {
        judgement.timers.set(`${one.rule}\t${one.device}`, dueUs + offsetUs)
        continue
      }
      const seen = found.get(one.device) as Seen
      const followed = followTime(seat.judged.rule, seat.track, dueUs, ALWAYS, listeningFor(memory.breaks, offsetUs))
      this.#moved(memory, judgement, seen.device, seat, followed, offsetUs)
    }
    await this.#releaseAll(project, memory, judgement, left)
  }

  /** Of rules that do not select the device any more, or are gone. */
  async #releaseAll(project: string, memory: Memory, judgement: Judgement, left: readonly Due[]): Promise<void> {
    const rows = await this.#ports.tracks(
      project,
      left.map(({ rule, device }) => [rule, device] as const),
    )
    for (const [i, { rule, device }] of left.entries()) {
      const judged = memory.rules.byName.get(rule)
      const row = rows[i]
      judgement.timers.set(`${rule}\t${device}`, undefined)
      if (judged && row) this.#release(judgement, judged.rule, memory.devices.get(device) ?? unknownDevice(device), row, true)
    }
  }

  /**
   * What was judged under the old labels is final. Devices leave the rules that do not select them any more, with their alarms; those
   * that were removed leave all.
   */
  async #relabel(project: string, memory: Memory, judgement: Judgement, ids: readonly string[]): Promise<void> {
    for (const seen of (await memory.see(ids)).values()) await this.#settleDevice(memory, judgement, seen)
    for (const id of ids) memory.overlook(id)
    await memory.devices.load(ids)
    const gone = ids.filter(id => !memory.devices.get(id))
    dropRecents(judgement, gone, memory.rules.eventTypes())
    const rules = [...memory.rules.byName.keys()]
    // Asked for what there is: of most pairs of a rule and a device there is nothing, and nothing is remembered.
    const held = new Map((await this.#ports.held(project, rules, ids)).map(one => [`${one.rule}\t${one.device}`, one]))
    for (const [key, row] of judgement.rows) {
      const [rule, device] = key.split('\t') as [string, string]
      if (ids.includes(device)) held.set(key, { rule, device, row: parseTrackRow(row) })
    }
    for (const { rule: name, device, row } of held.values()) {
      const known = memory.devices.get(device)
      const rule = memory.rules.byName.get(name)?.rule
      if (rule === undefined) continue
      if (!(known && selects(rule, known))) this.#release(judgement, rule, known ?? unknownDevice(device), row, false)
      else if (rule.groupBy.length > 0) judgement.changes.push({ rule, device: known, change: undefined, quiet: true })
    }
  }

  async #settleDevice(memory: Memory, judgement: Judgement, seen: Seen): Promise<void> {
    await memory.load(
      judgement,
      [...seen.seats.values()].map(seat => ({ seat, seen })),
    )
    for (const seat of seen.seats.values()) memory.final(judgement, seen.device, seat)
    for (const { eventType, recent } of seen.kinds.values())
      if (recent.events.length > 0)
        judgement.recents.set(`${eventType}\t${seen.device.id}`, { lines: [floorLine(recent.newestUs)], whole: true })
  }

  /** @param quiet the rule was edited; a device that was relabelled or removed is another thing, of which people are told. */
  #release(judgement: Judgement, rule: Rule, device: Device, row: TrackRow, quiet: boolean): void {
    const state = standing(row)
    for (const change of retire(rule, state, this.#ports.nowUs(), NO_LONGER).changes)
      judgement.changes.push({ rule, device, change, quiet })
    // Selected again, it begins anew, but for the number of its episodes.
    const left: TrackRow = { v: 2, r: rule.version, s: retire(rule, state, 0, NO_LONGER).state, u: row.u }
    judgement.rows.set(`${rule.name}\t${device.id}`, JSON.stringify(left))
    judgement.timers.set(`${rule.name}\t${device.id}`, undefined)
  }

  #judge(memory: Memory, judgement: Judgement, { event, entryId, arrivedUs, seen, kind }: Wanted): void {
    const { device } = seen
    const { eventType, recent, reads } = kind
    const timeUs = judgedUs(event.timeUs, arrivedUs)
    const { data, eventId } = JSON.parse(event.frame) as DeviceEvent
    const offsetUs = offsetOf(recent, timeUs, arrivedUs)
    // Its own, not that of the newest: judged again in order, or after a restart, it is the same.
    const listening = listeningFor(memory.breaks, arrivedUs - timeUs)
    const listeningSinceUs = listening(timeUs)
    const input: EventInput = { kind: 'event', device, eventType, data, timeUs, eventId, listeningSinceUs, listening }
    const around = memory.around(seen)
    const kept = keepEvent({ eventType, timeUs, eventId, data, entryId, listeningSinceUs }, reads)
    const arrival = recent.arrive(kept, this.#latenessUs)
    if (arrival === 'newest' || arrival === 'within') this.#keep(memory, judgement, kind, device, kept)
    for (const seat of kind.seats) {
      const followed = followEvent(seat.judged.rule, seat.track, input, arrival, seat.recents, around)
      this.#moved(memory, judgement, device, seat, followed, offsetUs)
    }
    const overdueUs = recent.overdueUs(this.#latenessUs)
    if (overdueUs !== undefined) this.#settle(memory, judgement, kind, around, overdueUs)
  }

  #keep(memory: Memory, judgement: Judgement, kind: Kind, device: Device, event: RecentEvent): void {
    if (kind.lines === undefined) {
      const key = `${kind.eventType}\t${device.id}`
      kind.lines = judgement.recents.get(key) ?? { lines: [], whole: false }
      judgement.recents.set(key, kind.lines)
      judgement.kinds.push(kind)
    }
    kind.lines.lines.push(recentLine(event))
    memory.weight++
  }

  #moved(memory: Memory, judgement: Judgement, device: Device, seat: Seat, { track, changes }: Followed, offsetUs: number): void {
    const before = seat.track
    if (track === before) return
    const { rule } = seat.judged
    seat.track = track
    if (changes.length > 0 || isWorthWriting(before, track)) memory.write(judgement, device, seat)
    const { dueUs } = track.current
    if (dueUs !== before.current.dueUs)
      judgement.timers.set(`${rule.name}\t${device.id}`, dueUs === undefined || !Number.isFinite(dueUs) ? undefined : dueUs + offsetUs)
    for (const change of changes) judgement.changes.push({ rule, device, change, quiet: false })
  }

  /** Lets what is older than late events may be go into the settled states. */
  #settle(memory: Memory, judgement: Judgement, kind: Kind, around: Around, beforeUs: number): void {
    const { device } = around
    for (const seat of kind.seats) {
      const settled = settle(seat.judged.rule, seat.track, seat.recents, beforeUs, around)
      if (settled === seat.track) continue
      seat.track = settled
      memory.write(judgement, device, seat)
    }
    const before = kind.recent.events.length
    kind.recent.drop(beforeUs)
    memory.weight -= before - kind.recent.events.length
    kind.lines = { lines: [floorLine(beforeUs), ...kind.recent.events.map(recentLine)], whole: true }
    judgement.recents.set(`${kind.eventType}\t${device.id}`, kind.lines)
    judgement.kinds.push(kind)
  }

  #recall(project: string): Memory {
    const known = this.#memories.get(project)
    if (known && known.weight < MAX_REMEMBERED) return known
    const memory = new Memory(this.#ports, project)
    this.#memories.set(project, memory)
    return memory
  }

  /** Looks whether rules were saved or removed; the alarms of a rule that is gone are cleared. */
  async #refresh(project: string, memory: Memory, judgement: Judgement, after: string): Promise<void> {
    const version = await this.#ports.rulesVersion(project)
    if (version !== memory.rules.version) await this.#readRules(project, memory, judgement, version, after)
    await this.#leave.go(project, memory, judgement, (...left) => this.#release(...left, true))
  }

  async #readRules(project: string, memory: Memory, judgement: Judgement, version: string, after: string): Promise<void> {
    // A rule may be called `constructor`.
    const noted = new Map(Object.entries(await this.#ports.since(project)))
    const rules = (await this.#ports.rules(project)).filter(({ enabled }) => enabled)
    const edited: string[] = []
    const judged = rules.map(rule => {
      const text = noted.get(rule.name)
      const known = text === undefined ? undefined : parseSince(text)
      const isSame = known?.version === rule.version
      if (known !== undefined && (!isSame || known.isUnfinished)) edited.push(rule.name)
      if (known !== undefined && isSame) return { rule, after: known.after }
      judgement.since.set(rule.name, sinceOf(rule.version, after, known !== undefined))
      return { rule, after }
    })
    memory.rule(new RuleSet(version, judged))
    this.#leave.begin(project, edited)
  }

  /** Which events meet any rule, with everything loaded that judging them needs. */
  async #select(memory: Memory, judgement: Judgement, arrived: readonly Arrived[]): Promise<Wanted[]> {
    const unknown = arrived.flatMap(({ event }) => (memory.seen(event.device)?.known ? [] : [event.device]))
    if (unknown.length > 0) await memory.see(unknown)
    const wanted: Wanted[] = []
    for (const { event, entryId, arrivedUs } of arrived) {
      const seen = memory.seen(event.device) as Seen
      const kind = seen.kinds.get(event.eventType)
      if (kind) wanted.push({ event, entryId, arrivedUs, seen, kind })
    }
    const seats = new Map<Seat, Seen>()
    for (const { seen, kind } of wanted) for (const seat of kind.seats) if (!seat.loaded) seats.set(seat, seen)
    await memory.load(
      judgement,
      [...seats].map(([seat, seen]) => ({ seat, seen })),
    )
    return wanted
  }

  async #commands(project: string, memory: Memory, judgement: Judgement): Promise<CommitCommand[]> {
    // A shadow makes no alarms; what it does is kept beside what its rule does.
    const own = judgement.changes.filter(({ rule }) => ruleOfShadow(rule.name) === undefined)
    const { commands, notifies } = await this.#ports.alarming.commands(project, memory.rules.rules, own, this.#ports.nowUs())
    if (notifies) this.#toNotify.add(project)
    const beside = judgement.changes
      .filter(({ rule }) => ruleOfShadow(rule.name) !== undefined || memory.rules.rules.has(shadowName(rule.name)))
      .flatMap(({ rule, device: d, change }) => (change ? [shadowCommand(project, rule.name, alarmDeviceOf(rule, d), d.id, change)] : []))
    for (const kind of judgement.kinds) kind.lines = undefined
    return [...commands, ...beside, ...stateCommands(project, judgement)]
  }

  /** Alarms of which somebody may have to be told by now though nothing has happened to them. */
  async #attention(project: string, memory: Memory): Promise<CommitCommand[]> {
    memory.attendedUs = this.#ports.nowUs()
    const { commands, notifies } = await this.#ports.alarming.due(project, memory.rules.rules, this.#ports.nowUs())
    if (notifies) this.#toNotify.add(project)
    return commands
  }
}
