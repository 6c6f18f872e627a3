// For the tests of the judge: one project on a real Redis, in a time of its own. Entries of the log bear the times that the story says, so
// it comes out the same, to the hashes of the history, however often it is told and whatever happens to the workers.
import type { Redis } from 'ioredis'
import type { Break } from '../../packages/core/listening.ts'
import { parseRule } from '../../packages/core/rule.ts'
import type { Silence } from '../../packages/core/silence.ts'
import { indexLine } from '../../packages/log/entry.ts'
import { batchOf, freshProject, type Sent } from '../../packages/log/fixture.ts'
import { projectKey } from '../../packages/log/key.ts'
import { Log } from '../../packages/log/log.ts'
import { Alarms } from '../../packages/state/alarm.ts'
import { Devices } from '../../packages/state/device.ts'
import { History } from '../../packages/state/history.ts'
import { judgementsOn } from '../../packages/state/judgement.ts'
import { Rules } from '../../packages/state/rule.ts'
import { Silences } from '../../packages/state/silence.ts'
import { alarmingOn } from './alarming.ts'
import type { OutboxEntry } from './commit.ts'
import { Drain } from './drain.ts'
import { Judge } from './judge.ts'

export const SECOND = 1_000_000
export const MINUTE = 60 * SECOND

export type Pass = (point: string) => Promise<void>

/** `value` of a type of event, `minute` after the beginning of the story. */
export type Said = {
  readonly device?: string
  readonly type?: string
  readonly minute: number
  readonly value?: unknown
  readonly id?: string
}

export class Story {
  readonly project = freshProject()
  readonly startUs: number
  /** By the clock of the server. */
  nowUs: number
  /** Nothing was received then; one that goes on has no end yet. */
  breaks: readonly Break[] = []
  readonly log: Log
  readonly rules: Rules
  readonly devices: Devices
  readonly alarms: Alarms
  readonly #redis: Redis
  #worker: Drain | undefined
  #sent = 0
  #woken = false

  constructor(redis: Redis, startUs = Date.UTC(2026, 10, 2, 8) * 1000) {
    this.#redis = redis
    this.startUs = startUs
    this.nowUs = startUs
    this.log = new Log(redis, ['judge'])
    this.rules = new Rules(redis)
    this.devices = new Devices(redis)
    this.alarms = new Alarms(redis)
  }

  worker(pass?: Pass): Drain {
    const redis = this.#redis
    const { rules, log, project } = this
    const judge = new Judge({
      devices: new Devices(redis),
      rulesVersion: name => rules.version(name),
      rules: name => rules.list(name),
      ...judgementsOn(redis),
      latenessMs: 120_000,
      alarming: alarmingOn(redis, () => {}),
      breaks: async () => this.breaks,
      nowUs: () => this.nowUs,
      notify: async () => {},
      ...(pass ? { pass } : {}),
    })
    const refuse = async (_: string, refused: readonly { readonly reason: string }[]) => {
      if (refused.length > 0) throw new Error(`nothing is poison in ${project}: ${refused[0]?.reason}`)
    }
    const again = () => {
      this.#woken = true
    }
    const ports = { log, quarantine: refuse, again, committed: () => {}, poisoned: () => {} }
    return new Drain({ ...ports, ...(pass ? { pass } : {}) }, judge)
  }

  at(minute: number): number {
    return this.startUs + minute * MINUTE
  }

  save(document: object): Promise<unknown> {
    return this.rules.save(this.project, parseRule(document))
  }

  device(id: string, labels: Record<string, string> = {}): Promise<unknown> {
    return this.devices.put(this.project, { id, type: 'temperature', labels, productNumber: '' })
  }

  /** As the registry does it: the labels, and a line in the log. */
  async relabel(id: string, labels: Record<string, string>, removed: readonly string[] = []): Promise<void> {
    await this.devices.relabel(this.project, id, labels, removed)
    const eventId = `relabelled-${this.#sent++}`
    const frame = JSON.stringify({ eventId, targetName: '', eventType: 'labelsChanged', data: {} })
    await this.#append([indexLine(id, 'labelsChanged', this.nowUs)], [frame])
  }

  /** Accepted now, in one entry. */
  async send(...said: readonly Said[]): Promise<void> {
    const { index, frames } = batchOf(
      'p',
      said.map(({ device = 'a', type = 'temperature', minute, value = 20, id }): Sent => {
        const eventId = id ?? `e${String(this.#sent++).padStart(6, '0')}`
        return { device, eventType: type, timeUs: this.at(minute), data: { value }, id: eventId }
      }),
    )
    await this.#append(index, frames)
  }

  async #append(index: readonly string[], frames: readonly string[]): Promise<void> {
    const id = `${Math.floor(this.nowUs / 1000)}-*`
    await this.#redis.xadd(projectKey(this.project, 'log'), id, 'i', index.join('\n'), 'f', frames.join('\n'))
  }

  silence(silence: Pick<Silence, 'id' | 'matchers' | 'endUs'>): Promise<unknown> {
    const rest = { author: 'ops', reason: 'works', startUs: this.nowUs }
    return new Silences(this.#redis).save(this.project, { ...rest, ...silence }, 'ops', this.nowUs)
  }

  /** The clock goes to this minute; then everything is judged that there is to judge. */
  async until(minute: number): Promise<void> {
    this.nowUs = this.at(minute)
    this.#worker ??= this.worker()
    await this.drain(this.#worker)
  }

  /** As often as it is woken again: a run ends when its slice is over. */
  async drain(worker: Drain): Promise<void> {
    do {
      this.#woken = false
      await worker.run(this.project)
    } while (this.#woken)
  }

  /** All it remembers is lost. */
  restart(): void {
    this.#worker = undefined
  }

  /** Everything that happened to alarms: `a active 5`, `late` when it was found late. */
  async history(): Promise<string[]> {
    return (await this.records()).flatMap(({ kind, rule, device, at, late }) =>
      at === undefined ? [] : [`${rule} ${device} ${kind} ${this.#minuteOf(at)}${late ? ' late' : ''}`],
    )
  }

  async records() {
    return (await new History(this.#redis).page(this.project, 0, 100_000)).records
  }

  /** What channels are told, in order. */
  async told(): Promise<string[]> {
    return (await this.outbox()).map(
      ({ kind, alarm }) => `${alarm.rule} ${alarm.device} ${kind} ${this.#minuteOf(alarm.updateTime)}${alarm.late ? ' late' : ''}`,
    )
  }

  async outbox(): Promise<OutboxEntry[]> {
    const rows = await this.#redis.xrange(projectKey(this.project, 'outbox'), '-', '+')
    return rows.map(([, fields]) => JSON.parse((fields[1] as string).replaceAll(this.project, 'p')) as OutboxEntry)
  }

  /** Everything by which two tellings can be told apart. */
  async outcome() {
    const { project } = this
    const kept = async (name: string) => this.#redis.hgetall(projectKey(project, name))
    const states = await this.#redis.smembers(projectKey(project, 'ruleStates'))
    // Since when events count hangs on who was there when labels changed; what came of them does not.
    const track = (row: string) => ({ ...(JSON.parse(row) as object), u: undefined, i: undefined })
    const tracks = async (rule: string) =>
      Object.entries(await kept(`state:${rule}`)).map(([device, row]) => [`${rule} ${device}`, track(row)] as const)
    return {
      history: await this.records(),
      outbox: await this.outbox(),
      alarms: await kept('alarms'),
      homes: await kept('homes'),
      timers: await this.#redis.zrange(projectKey(project, 'timers'), '0', '-1', 'WITHSCORES'),
      attention: await this.#redis.zrange(projectKey(project, 'attention'), '0', '-1', 'WITHSCORES'),
      tracks: Object.fromEntries((await Promise.all(states.map(tracks))).flat()),
    }
  }

  #minuteOf(time: string): number {
    return (Date.parse(time) * 1000 - this.startUs) / MINUTE
  }
}

/** mulberry32: small, seeded. */
export function dice(seed: number): (sides: number) => number {
  let state = seed
  return sides => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % sides
  }
}
