// The judge: each event meets the rules that select it, and what that changes is committed together with the place in the log
// (P3). All it remembers is written through with every commit, so a crash anywhere repeats the read and changes nothing twice.
import { type Alarm, type Attendance, alarmIdOf, alarmToJson, changeIdOf, nextAlarm } from '../../packages/core/alarm.ts'
import { judgedUs } from '../../packages/core/clock.ts'
import type { Device } from '../../packages/core/device.ts'
import type { DeviceEvent } from '../../packages/core/event.ts'
import { type Rule, selects } from '../../packages/core/rule.ts'
import { FRESH, type RuleState, retire, type StepInput, step } from '../../packages/core/step.ts'
import { acceptedUs, type LogEntry, type LogEvent } from '../../packages/log/entry.ts'
import type { CommitCommand } from '../../packages/log/log.ts'
import { alarmCommands, frameCommand } from '../../packages/state/alarm.ts'
import { DeviceCache, type Devices } from '../../packages/state/device.ts'
import type { Held } from '../../packages/state/judgement.ts'
import { type Changed, type Judgement, newJudgement, outboxCommand, stateCommands } from './commit.ts'
import type { Consumer } from './drain.ts'
import { Pairs } from './pairs.ts'
import { RuleSet } from './ruleset.ts'

/** A timer in server time. */
export type Due = { readonly rule: string; readonly device: string; readonly dueUs: number }

export type JudgePorts = {
  readonly devices: Devices
  rulesVersion(project: string): Promise<string>
  rules(project: string): Promise<Rule[]>
  /** Rule states by rule and device, in the order asked for. */
  states(project: string, wanted: readonly (readonly [rule: string, device: string])[]): Promise<(RuleState | undefined)[]>
  /** The states that there are of these rules and devices. */
  held(project: string, rules: readonly string[], devices: readonly string[]): Promise<Held[]>
  /** Newest judged times by series, in the order asked for. */
  newest(project: string, series: readonly string[]): Promise<(number | undefined)[]>
  /** Rules and devices whose timer is due by now. */
  due(project: string, nowUs: number, limit: number): Promise<Due[]>
  /** Rules that have states but are not among these any more, with every state by device. */
  orphans(project: string, enabled: ReadonlySet<string>): Promise<{ rule: Rule; states: Map<string, RuleState> }[]>
  alarms(project: string, ids: readonly string[]): Promise<(Alarm | undefined)[]>
  attendances(project: string, ids: readonly string[]): Promise<(Attendance | undefined)[]>
  /** Since when this installation has been receiving without a break. */
  listeningSinceUs(): Promise<number>
  nowUs(): number
  changed(kind: string): void
  /** The outbox has something for a project. */
  notify(project: string): Promise<void>
}

/** Events still on their way may be this much older than the moment a timer is judged by the server's clock. */
const GRACE_US = 2_000_000
const DUE_LIMIT = 1000

/** What the judge remembers of a project between two reads. */
type Memory = {
  rules: RuleSet
  readonly devices: DeviceCache
  /** By rule and device; undefined: there is none. */
  readonly states: Pairs<RuleState | undefined>
  /** Newest judged time by event type and device; Number.NEGATIVE_INFINITY: none. */
  readonly newest: Pairs<number>
}

const MAX_REMEMBERED = 2_000_000

export class Judge implements Consumer {
  readonly name = 'judge'
  readonly #ports: JudgePorts
  readonly #memories = new Map<string, Memory>()
  /** Projects whose commit under way has something for the outbox. */
  readonly #toNotify = new Set<string>()

  constructor(ports: JudgePorts) {
    this.#ports = ports
  }

  forget(project: string): void {
    this.#memories.delete(project)
    this.#toNotify.delete(project)
  }

  async committed(project: string): Promise<void> {
    if (this.#toNotify.delete(project)) await this.#ports.notify(project)
  }

  async take(project: string, entries: readonly LogEntry[]): Promise<CommitCommand[]> {
    const memory = await this.#recall(project)
    const judgement = newJudgement()
    await this.#refresh(project, memory, judgement)
    const listeningSinceUs = await this.#ports.listeningSinceUs()
    for (const { relabelled, arrived } of spansOf(memory, entries)) {
      for (const device of relabelled) {
        memory.devices.forget(device)
        memory.rules.forget(device)
      }
      await this.#deselect(project, memory, judgement, relabelled)
      for (const one of await this.#select(project, memory, arrived)) this.#judge(memory, judgement, one, listeningSinceUs)
    }
    return this.#commands(project, judgement)
  }

  /** The log is drained: time passes for devices that have gone quiet. */
  async idle(project: string): Promise<CommitCommand[]> {
    const memory = await this.#recall(project)
    const judgement = newJudgement()
    await this.#refresh(project, memory, judgement)
    const due = await this.#ports.due(project, this.#ports.nowUs() - GRACE_US, DUE_LIMIT)
    if (due.length > 0) await this.#passTime(project, memory, judgement, due)
    return this.#commands(project, judgement)
  }

  async #passTime(project: string, memory: Memory, judgement: Judgement, due: readonly Due[]): Promise<void> {
    const listeningSinceUs = await this.#ports.listeningSinceUs()
    await memory.devices.load(due.map(({ device }) => device))
    const living = due.filter(({ rule }) => memory.rules.byName.has(rule))
    await this.#loadStates(
      project,
      memory,
      living.map(({ rule, device }) => [rule, device] as const),
    )
    for (const { rule: name, device: id, dueUs } of due) {
      const rule = memory.rules.byName.get(name)
      const state = memory.states.get(name, id)
      // A timer that nothing waits for any more.
      if (!rule || state?.dueUs === undefined) judgement.states.set(`${name}\t${id}`, { state: undefined, offsetUs: 0 })
      else {
        // How far the device's clock is behind the server's: by this the timer was put into server time.
        const offsetUs = dueUs - state.dueUs
        const input = { kind: 'time', timeUs: state.dueUs, listeningSinceUs: listeningSinceUs - offsetUs } as const
        const device = memory.devices.get(id) ?? unknownDevice(id)
        if (selects(rule, device)) this.#step(memory, judgement, rule, device, input, offsetUs)
        else this.#release(memory, judgement, rule, device)
      }
    }
  }

  /** Relabelled devices leave the rules that do not select them any more, with their alarms; those that were removed leave all. */
  async #deselect(project: string, memory: Memory, judgement: Judgement, ids: readonly string[]): Promise<void> {
    if (ids.length === 0) return
    await memory.devices.load(ids)
    const rules = [...memory.rules.byName.values()]
    // Asked for what there is: of most pairs of a rule and a device there is nothing, and nothing is remembered.
    const held = await this.#ports.held(
      project,
      rules.map(({ name }) => name),
      ids,
    )
    for (const { rule, device, state } of held) if (!memory.states.has(rule, device)) memory.states.set(rule, device, state)
    for (const id of new Set(ids)) {
      const known = memory.devices.get(id)
      for (const rule of rules)
        if (memory.states.get(rule.name, id) !== undefined && !(known && selects(rule, known)))
          this.#release(memory, judgement, rule, known ?? unknownDevice(id))
    }
  }

  #release(memory: Memory, judgement: Judgement, rule: Rule, device: Device): void {
    const state = memory.states.get(rule.name, device.id)
    if (state === undefined) return
    for (const change of retire(rule, state, this.#ports.nowUs(), 'the rule no longer selects the device').changes)
      judgement.changes.push({ rule, device, change, quiet: true })
    // Selected again, it begins anew.
    memory.states.set(rule.name, device.id, FRESH)
    judgement.states.set(`${rule.name}\t${device.id}`, { state: FRESH, offsetUs: 0 })
  }

  #judge(memory: Memory, judgement: Judgement, { event, device, rules, acceptedUs: arrivedUs }: Wanted, listeningSinceUs: number): void {
    const timeUs = judgedUs(event.timeUs, arrivedUs)
    const offsetUs = arrivedUs - timeUs
    const before = memory.newest.get(event.eventType, device.id) ?? Number.NEGATIVE_INFINITY
    const { data, eventId } = JSON.parse(event.frame) as DeviceEvent
    const input: StepInput = {
      kind: 'event',
      device,
      eventType: event.eventType,
      data,
      timeUs,
      eventId,
      newestUs: before === Number.NEGATIVE_INFINITY ? timeUs : before,
      listeningSinceUs: listeningSinceUs - offsetUs,
    }
    for (const rule of rules) this.#step(memory, judgement, rule, device, input, offsetUs)
    if (timeUs < before) return
    memory.newest.set(event.eventType, device.id, timeUs)
    judgement.newest.set(event.eventType, device.id, timeUs)
  }

  #step(memory: Memory, judgement: Judgement, rule: Rule, device: Device, input: StepInput, offsetUs: number): void {
    const before = memory.states.get(rule.name, device.id)
    const outcome = step(rule, before, input)
    if (outcome.state !== (before ?? FRESH)) {
      memory.states.set(rule.name, device.id, outcome.state)
      judgement.states.set(`${rule.name}\t${device.id}`, { state: outcome.state, offsetUs })
    }
    for (const change of outcome.changes) judgement.changes.push({ rule, device, change, quiet: false })
  }

  async #recall(project: string): Promise<Memory> {
    const known = this.#memories.get(project)
    if (known && known.states.size + known.newest.size + known.rules.remembered < MAX_REMEMBERED) return known
    const rules = new RuleSet('', [])
    const memory: Memory = { rules, devices: new DeviceCache(this.#ports.devices, project), states: new Pairs(), newest: new Pairs() }
    this.#memories.set(project, memory)
    return memory
  }

  /** Looks whether rules were saved or removed; the alarms of a rule that is gone are cleared. */
  async #refresh(project: string, memory: Memory, judgement: Judgement): Promise<void> {
    const version = await this.#ports.rulesVersion(project)
    if (version === memory.rules.version) return
    memory.rules = new RuleSet(version, await this.#ports.rules(project))
    for (const { rule, states } of await this.#ports.orphans(project, new Set(memory.rules.byName.keys()))) {
      await memory.devices.load(states.keys())
      for (const [id, state] of states) {
        memory.states.delete(rule.name, id)
        const reason = rule.enabled ? 'rule deleted' : 'rule disabled'
        for (const change of retire(rule, state, this.#ports.nowUs(), reason).changes)
          judgement.changes.push({ rule, device: memory.devices.get(id) ?? unknownDevice(id), change, quiet: true })
      }
      judgement.retired.push({ rule: rule.name, devices: [...states.keys()] })
    }
  }

  /** Which events meet which rules, with everything loaded that judging them needs. */
  async #select(project: string, memory: Memory, arrived: readonly Arrived[]): Promise<Wanted[]> {
    await memory.devices.load(arrived.map(({ event }) => event.device))
    const wanted: Wanted[] = []
    const pairs = new Map<string, readonly [string, string]>()
    for (const { event, acceptedUs: arrivedUs } of arrived) {
      const known = memory.devices.get(event.device)
      const device = known ?? unknownDevice(event.device)
      const rules = known ? memory.rules.rulesFor(known, event.eventType) : memory.rules.choose(device, event.eventType)
      if (rules.length > 0) wanted.push({ event, device, rules, acceptedUs: arrivedUs })
      for (const rule of rules)
        if (!memory.states.has(rule.name, device.id)) pairs.set(`${rule.name}\t${device.id}`, [rule.name, device.id])
    }
    await this.#loadStates(project, memory, [...pairs.values()])
    await this.#loadNewest(project, memory, wanted)
    return wanted
  }

  async #loadStates(project: string, memory: Memory, pairs: readonly (readonly [string, string])[]): Promise<void> {
    const missing = pairs.filter(([rule, device]) => !memory.states.has(rule, device))
    if (missing.length === 0) return
    const found = await this.#ports.states(project, missing)
    for (const [i, [rule, device]] of missing.entries()) memory.states.set(rule, device, found[i])
  }

  async #loadNewest(project: string, memory: Memory, wanted: readonly Wanted[]): Promise<void> {
    const missing = new Map<string, LogEvent>()
    for (const { event } of wanted)
      if (!memory.newest.has(event.eventType, event.device)) missing.set(`${event.device}\t${event.eventType}`, event)
    if (missing.size === 0) return
    const found = await this.#ports.newest(project, [...missing.keys()])
    for (const [i, { eventType, device }] of [...missing.values()].entries())
      memory.newest.set(eventType, device, found[i] ?? Number.NEGATIVE_INFINITY)
  }

  async #commands(project: string, { changes, ...judgement }: Judgement): Promise<CommitCommand[]> {
    const commands = stateCommands(project, { changes, ...judgement })
    if (changes.length === 0) return commands
    const ids = [...new Set(changes.map(({ rule, device }) => alarmIdOf(rule.name, device.id)))]
    const [alarms, seen] = await Promise.all([this.#ports.alarms(project, ids), this.#ports.attendances(project, ids)])
    const current = new Map(ids.map((id, i) => [id, { alarm: alarms[i], acknowledgement: seen[i] }]))
    for (const changed of changes) {
      const { rule, device, change } = changed
      const id = alarmIdOf(rule.name, device.id)
      const before = current.get(id)
      const alarm = nextAlarm(before?.alarm, rule, device, change, this.#ports.nowUs())
      current.set(id, { alarm, acknowledgement: before?.acknowledgement })
      commands.push(...alarmCommands(project, alarm), frameCommand(project, alarm, before?.acknowledgement))
      if (isNotified(changed)) {
        commands.push(outboxCommand(project, outboxEntry(project, changed, alarm, before?.acknowledgement)))
        this.#toNotify.add(project)
      }
      this.#ports.changed(change.kind)
    }
    return commands
  }
}

function outboxEntry(project: string, { rule, change }: Changed, alarm: Alarm, acknowledgement: Attendance | undefined) {
  return { changeId: changeIdOf(alarm), kind: change.kind, channels: rule.notify, alarm: alarmToJson(project, alarm, acknowledgement) }
}

type Wanted = { readonly event: LogEvent; readonly device: Device; readonly rules: readonly Rule[]; readonly acceptedUs: number }

type Arrived = Pick<Wanted, 'event' | 'acceptedUs'>

/** Events that any rule reads, all of which came after these devices were relabelled, and before any other was. */
type Span = { readonly relabelled: string[]; readonly arrived: Arrived[] }

/** What was read, cut where labels changed, so that each event meets the rules for the labels of its moment. */
function spansOf(memory: Memory, entries: readonly LogEntry[]): Span[] {
  const spans: Span[] = []
  let span: Span = { relabelled: [], arrived: [] }
  for (const entry of entries)
    for (const event of entry.events)
      if (event.eventType === 'labelsChanged') {
        if (span.arrived.length > 0) {
          spans.push(span)
          span = { relabelled: [], arrived: [] }
        }
        span.relabelled.push(event.device)
      } else if (memory.rules.reads(event.eventType)) span.arrived.push({ event, acceptedUs: acceptedUs(entry.id) })
  return [...spans, span]
}

/** People are told of what is active or was; pending is nobody's business yet. */
function isNotified({ rule, change, quiet }: Changed): boolean {
  return !quiet && rule.notify.length > 0 && (change.kind === 'active' || change.kind === 'cleared')
}

function unknownDevice(id: string): Device {
  return { id, type: '', labels: {}, productNumber: '' }
}
