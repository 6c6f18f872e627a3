// The pure engine beside a plain interpreter of the same rules: judgements a second on one core, kind by kind.
import { parseRule } from '../packages/core/rule.ts'
import { type EventInput, type RuleState, step } from '../packages/core/step.ts'
import { Interpreter, type RuleDocument } from './interpreter.ts'

export type EngineCase = {
  readonly name: string
  /** How many to judge in one run. */
  readonly events: number
  readonly rule: object
  readonly plain: RuleDocument
}

const FIELD = 'temperature.value'
const MINUTE_US = 60_000_000
const DEVICES = 10_000
/** Of each device one event a minute; in one of these of every 500 it is too warm for some minutes. */
const VALUES = Array.from({ length: 500 }, (_, i) => 20 + ((i * 7919) % 600) / 100 + (i % 500 < 8 ? 15 : 0))

export const CASES: readonly EngineCase[] = [
  {
    name: 'threshold, for 2m',
    events: 2_000_000,
    rule: { when: { threshold: { field: FIELD, above: 30, clearBelow: 28 } }, for: '2m', keepActive: '1m' },
    plain: {
      name: 'a',
      when: { threshold: { field: FIELD, above: 30, clearBelow: 28 } },
      for: 2 * MINUTE_US,
      keepActive: MINUTE_US,
    },
  },
  {
    name: 'rate',
    events: 300_000,
    rule: { when: { rate: { field: FIELD, above: 12, per: '1m' } } },
    plain: { name: 'a', when: { rate: { field: FIELD, above: 12, per: MINUTE_US } } },
  },
  {
    name: 'window, mean of 10m',
    events: 200_000,
    rule: { when: { window: { field: FIELD, function: 'mean', over: '10m', above: 30 } } },
    plain: { name: 'a', when: { window: { field: FIELD, over: 10 * MINUTE_US, above: 30 } } },
  },
  {
    name: 'deviation',
    events: 100_000,
    rule: { when: { deviation: { field: FIELD, above: 8, over: '1d' } } },
    plain: { name: 'a', when: { deviation: { field: FIELD, above: 8 } } },
  },
  {
    name: 'expression',
    events: 500_000,
    rule: { when: { expression: 'event.eventType == "temperature" && reading > 30.0' } },
    plain: {
      name: 'a',
      when: { expression: { and: [{ eq: [{ eventType: '' }, 'temperature'] }, { gt: [{ field: FIELD }, 30] }] } },
    },
  },
  {
    name: 'all of two thresholds',
    events: 300_000,
    rule: { when: { all: [{ threshold: { field: FIELD, above: 30 } }, { threshold: { field: FIELD, below: 80 } }] } },
    plain: { name: 'a', when: { all: [{ threshold: { field: FIELD, above: 30 } }, { threshold: { field: FIELD, below: 80 } }] } },
  },
]

type Moment = { -readonly [key in keyof EventInput]: EventInput[key] }

/** Events of all devices by turns, in objects that are used again: what is measured is judging them, not making them. */
function eachEvent(count: number, from: number, take: (event: Moment, index: number) => void): void {
  const data = VALUES.map(value => ({ temperature: { value, updateTime: '2026-11-21T00:00:00.000000Z' } }))
  const moments: Moment[] = Array.from({ length: DEVICES }, (_, i) => ({
    kind: 'event',
    device: { id: `device-${i}`, type: 'temperature', labels: {}, productNumber: '' },
    eventType: 'temperature',
    data: data[0] as object,
    timeUs: 0,
    eventId: `e${i}`,
    listeningSinceUs: 0,
  })) as Moment[]
  for (let n = 0; n < count; n++) {
    const index = n % DEVICES
    const round = from + Math.floor(n / DEVICES)
    const moment = moments[index] as Moment
    moment.timeUs = 1_700_000_000_000_000 + round * MINUTE_US
    moment.data = data[(round + index) % data.length] as Moment['data']
    take(moment, index)
  }
}

/** A function that judges so many events more. */
export function prepareEngine({ rule: document }: EngineCase): (count: number) => number {
  const rule = parseRule({ name: 'a', ...document })
  const states = new Array<RuleState | undefined>(DEVICES).fill(undefined)
  let rounds = 0
  return count => {
    eachEvent(count, rounds, (event, index) => {
      states[index] = step(rule, states[index], event).state
    })
    rounds += Math.ceil(count / DEVICES)
    return count
  }
}

export function prepareInterpreter({ plain }: EngineCase): (count: number) => number {
  const interpreter = new Interpreter([plain])
  let rounds = 0
  return count => {
    eachEvent(count, rounds, ({ device, eventType, data, timeUs }) => interpreter.take({ device: device.id, eventType, data, timeUs }))
    rounds += Math.ceil(count / DEVICES)
    return count
  }
}
