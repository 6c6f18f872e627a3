// The index finds exactly those whom asking every subscriber would find, whatever they ask for and whatever changes meanwhile.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Device } from '../../packages/core/device.ts'
import type { LogEvent } from '../../packages/log/entry.ts'
import { type Filter, matches } from './filter.ts'
import { Interests } from './interest.ts'

const few = (...names: string[]) => fc.constantFrom(...names)
const deviceId = few('a', 'b', 'c', 'd', '__proto__', 'constructor')
const eventType = few('temperature', 'humidity', 'labelsChanged')
const label = fc.record({ key: few('zone', 'site', 'constructor', 'zone2'), value: few('cold', 'warm', '', 'x=y') })
const setOf = (names: fc.Arbitrary<string>) =>
  fc.option(
    fc.uniqueArray(names, { minLength: 1, maxLength: 3 }).map(all => new Set(all)),
    { nil: undefined },
  )

const filter: fc.Arbitrary<Filter> = fc.record({
  deviceIds: setOf(deviceId),
  deviceTypes: setOf(few('temperature', 'touch')),
  eventTypes: setOf(eventType),
  productNumbers: setOf(few('1', '2')),
  labels: fc.array(fc.record({ key: label.map(({ key }) => key), value: fc.option(few('cold', 'warm', 'x=y'), { nil: undefined }) }), {
    maxLength: 3,
  }),
  labelMatch: fc.constantFrom('all', 'any'),
})

const device: fc.Arbitrary<Device> = fc.record({
  id: deviceId,
  type: few('temperature', 'touch'),
  productNumber: few('', '1', '2'),
  labels: fc.array(label, { maxLength: 3 }).map(all => Object.fromEntries(all.map(({ key, value }) => [key, value]))),
})

type Step =
  | { readonly kind: 'subscribe'; readonly filter: Filter | undefined }
  | { readonly kind: 'leave'; readonly which: number }
  | { readonly kind: 'change'; readonly device: Device }
  | { readonly kind: 'event'; readonly device: string; readonly eventType: string }

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constant('subscribe' as const), filter: fc.option(filter, { nil: undefined }) }),
  fc.record({ kind: fc.constant('leave' as const), which: fc.nat(20) }),
  fc.record({ kind: fc.constant('change' as const), device }),
  fc.record({ kind: fc.constant('event' as const), device: deviceId, eventType }),
)

/** An index, and beside it everybody who subscribed and everything that is registered. */
class World {
  readonly #interests: Interests<number>
  readonly #toldOfChanges: boolean
  readonly #there = new Map<number, { filter: Filter | undefined; leave: () => void }>()
  readonly #registry = new Map<string, Device>()
  #next = 0

  constructor(toldOfChanges: boolean) {
    this.#toldOfChanges = toldOfChanges
    this.#interests = new Interests(toldOfChanges)
  }

  take(step: Step): void {
    if (step.kind === 'subscribe') this.#subscribe(step.filter)
    if (step.kind === 'leave') this.#leave([...this.#there.keys()][step.which])
    if (step.kind === 'change') this.#change(step.device)
    if (step.kind === 'event') this.#compare({ device: step.device, eventType: step.eventType, timeUs: 0, frame: '' })
  }

  #subscribe(filter: Filter | undefined): void {
    const n = this.#next++
    const interest = this.#interests.add(filter, n)
    this.#there.set(n, { filter, leave: () => this.#interests.remove(interest, n) })
  }

  #leave(n: number | undefined): void {
    if (n === undefined) return
    this.#there.get(n)?.leave()
    this.#there.delete(n)
  }

  #change(device: Device): void {
    this.#registry.set(device.id, device)
    if (this.#toldOfChanges) this.#interests.forget(device.id)
  }

  #compare(event: LogEvent): void {
    const facts = this.#registry.get(event.device)
    const given = this.#interests.needsDevice(event) ? facts : undefined
    const found = this.#interests.match(event, given).flatMap(({ subscribers }) => [...subscribers])
    const wanted = [...this.#there].filter(([, { filter: asked }]) => !asked || matches(asked, event, facts)).map(([n]) => n)
    expect(found.toSorted((a, b) => a - b)).toEqual(wanted)
  }
}

const NONE: Filter = {
  deviceIds: undefined,
  deviceTypes: undefined,
  eventTypes: undefined,
  productNumbers: undefined,
  labels: [],
  labelMatch: 'all',
}

describe('interests', () => {
  it.each([true, false])('match as asking every subscriber would, told of changes: %s', toldOfChanges => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), steps => {
        const world = new World(toldOfChanges)
        for (const one of steps) world.take(one)
      }),
      { numRuns: 1000 },
    )
  })

  it('of the same filter are one', () => {
    const interests = new Interests<string>(true)
    const asked = (ids: string[]): Filter => ({ ...NONE, deviceIds: new Set(ids) })
    expect(interests.add(asked(['a', 'b']), 'x')).toBe(interests.add(asked(['b', 'a']), 'y'))
    expect(interests.add(asked(['a']), 'x')).not.toBe(interests.add(asked(['a', 'b']), 'y'))
  })

  it('of the same labels are two when all must hold for one and any is enough for the other', () => {
    const interests = new Interests<string>(true)
    const labels = [
      { key: 'zone', value: 'cold' },
      { key: 'site', value: undefined },
    ]
    const asked = (labelMatch: Filter['labelMatch']): Filter => ({ ...NONE, labels, labelMatch })
    const [all, any] = [interests.add(asked('all'), 'x'), interests.add(asked('any'), 'y')]
    const event = { device: 'a', eventType: 'temperature', timeUs: 0, frame: '' }
    const labelled = (device: string, more: Device['labels']) => ({ id: device, type: 't', productNumber: '', labels: more })
    expect(interests.match(event, labelled('a', { zone: 'cold', site: '' }))).toEqual([all, any])
    expect(interests.match({ ...event, device: 'b' }, labelled('b', { zone: 'cold' }))).toEqual([any])
    expect(interests.match({ ...event, device: 'c' }, labelled('c', { zone: 'warm' }))).toEqual([])
  })
})
