// Which decoder takes what: by topic, content type and name.
import { Type } from 'typebox'
import { describe, expect, it } from 'vitest'
import type { DecoderRecord } from '../../../packages/state/decoder.ts'
import type { Format } from '../decode/format.ts'
import { readDecoder } from './decoderdocument.ts'
import { filledIn, Mappings, mappingsOf, mounted } from './mapping.ts'

const format = (name: string, topics: readonly string[] = [], contentTypes: readonly string[] = []): Format => ({
  name,
  version: 1,
  title: name,
  options: Type.Object({}),
  topics,
  contentTypes,
  decode: () => ({ decoded: [] }),
})
const FORMATS = new Map(
  [
    format('json', [], ['application/json']),
    format('zigbee', ['zigbee2mqtt/#']),
    format('tasmota', ['tele/#', '+/tele/#']),
    format('lora', ['v3/+/devices/+/up']),
  ].map(one => [one.name, one]),
)
const own = (name: string, topics: readonly string[], more: Partial<DecoderRecord> = {}): DecoderRecord => ({
  name,
  format: 'json',
  topics,
  contentTypes: [],
  options: {},
  enabled: true,
  ...more,
})
const OFF = { enabled: false }
const TASMOTA = { format: 'tasmota' }
const of = (...records: DecoderRecord[]) => new Mappings(mappingsOf(records, FORMATS), FORMATS, (_, options) => options)

describe('a topic', () => {
  it.each<[what: string, topic: string, records: DecoderRecord[], name: string | undefined]>([
    ['is taken by the format it is known for', 'zigbee2mqtt/kitchen', [], 'zigbee'],
    ['is taken by # also at its parent', 'zigbee2mqtt', [], 'zigbee'],
    ['is not taken by its beginning alone', 'zigbee2mqtt2/kitchen', [], undefined],
    ['matches + by exactly one level', 'v3/app/devices/dev/up', [], 'lora'],
    ['with a level too many matches nothing', 'v3/app/devices/dev/up/x', [], undefined],
    ['with a level too few matches nothing', 'v3/app/devices/dev', [], undefined],
    ['matches + by an empty level', 'v3//devices//up', [], 'lora'],
    ['matches a filter that begins with +', 'home/tele/a/SENSOR', [], 'tasmota'],
    ['goes to the filter with more literal levels', 'zigbee2mqtt/bridge/log', [own('log', ['zigbee2mqtt/bridge/#'])], 'log'],
    ['goes to the filter with more literal levels, own or not', 'zigbee2mqtt/a', [own('all', ['#'])], 'zigbee'],
    ['goes to the own one among equals', 'zigbee2mqtt/a', [own('z', ['zigbee2mqtt/+'])], 'z'],
    ['goes to the first name among equals', 'a/b', [own('y', ['a/#']), own('x', ['a/+'])], 'x'],
    ['goes to nobody when its mapping is switched off', 'zigbee2mqtt/a', [own('zigbee', ['zigbee2mqtt/#'], { enabled: false })], undefined],
    ['goes to the own mapping that took the name of a built-in one', 'mine/a', [own('zigbee', ['mine/#'])], 'zigbee'],
    ['of a built-in mapping that was replaced goes to nobody', 'zigbee2mqtt/a', [own('zigbee', ['mine/#'])], undefined],
    ['of a format that is gone goes to nobody', 'old/a', [own('old', ['old/#'], { format: 'gone' })], undefined],
    ['named like a thing of the language matches nothing', 'constructor/__proto__', [], undefined],
  ])('%s', (_, topic, records, name) => {
    expect(of(...records).ofTopic(topic)?.mapping.name).toBe(name)
  })

  it('that nothing matches is cheap, with many mappings', () => {
    const many = of(...Array.from({ length: 200 }, (_, i) => own(`m${i}`, [`site${i}/+/+/x`, `site${i}/#`])))
    const startMs = performance.now()
    for (let i = 0; i < 100_000; i++) many.ofTopic('plant/hall/machine/speed')
    // A tenth of a microsecond each; loaded machines take longer.
    expect(performance.now() - startMs).toBeLessThan(1000)
  })
})

describe('a filter', () => {
  const read = async (topic: string) => (await readDecoder(FORMATS, 'p', 'mine', { format: 'json', topic })).topics[0]

  it.each([
    ['projects/p/topics/a/+', 'a/+'],
    ['a/+/+/+/+/+/+/+/+', 'a/+/+/+/+/+/+/+/+'],
  ])('%s is read as %s', async (given, topic) => expect(await read(given)).toBe(topic))

  it.each([
    ['projects/q/topics/a/+', 'topics.0: expected a topic of project p, got one of q'],
    ['projects/+/topics/a', 'topics.0: expected a topic of project p, got one of +'],
    ['+/+/+/+/+/+/+/+/+', 'topics.0: expected at most 8 levels of +, got 9'],
    [`${'a/'.repeat(32)}a`, 'topics.0: expected a topic filter of 1 to 32 levels'],
  ])('%s is refused', async (given, message) => expect(read(given)).rejects.toThrow(message))
})

describe('a content type', () => {
  it('goes to an own mapping before the built-in one', () => {
    expect(of().ofContentType('application/json')?.mapping.name).toBe('json')
    const mine = own('mine', [], { contentTypes: ['application/json'], format: 'lora' })
    expect(of(mine).ofContentType('application/json')?.format.name).toBe('lora')
  })
})

describe('a format', () => {
  const lines = { format: 'json', contentTypes: ['text/x'] }
  it.each<[what: string, records: DecoderRecord[], name: string | undefined]>([
    ['without own ones is read by the built-in one', [], 'json'],
    ['is read by the own one of its name, before others', [own('a', [], lines), own('json', [])], 'json'],
    ['is read by the built-in one of its name, before own ones', [own('a', ['x/#']), own('b', [], lines)], 'json'],
    ['whose name is switched off is read by one of a content type', [own('json', [], OFF), own('a', []), own('b', [], lines)], 'b'],
    ['whose name is another format’s is read by one without topics', [own('json', [], TASMOTA), own('a', ['x']), own('b', [])], 'b'],
    ['is read by none that is there for its topics', [own('json', [], OFF), own('a', ['x/#'])], undefined],
  ])('%s', (_what, records, name) => {
    const found = () => of(...records).ofFormat('json').mapping.name
    if (name === undefined) expect(found).toThrow(/no decoder of format json is switched on/)
    else expect(found()).toBe(name)
  })
})

describe('a name', () => {
  it('that is mistyped is answered with the nearest one', () => {
    expect(of().named('json').format.name).toBe('json')
    expect(() => of().named('zigbe')).toThrow('did you mean zigbee?')
  })
})

describe('the space of a project', () => {
  it.each([
    ['a/b', 'p', { project: 'p', topic: 'a/b' }],
    ['/a', 'p', { project: 'p', topic: '/a' }],
    ['a/b', '', undefined],
    ['projects/q/topics/a/b', 'p', { project: 'q', topic: 'a/b' }],
    ['projects/q/topics/', 'p', undefined],
    ['projects/q/devices/d/events', 'p', undefined],
    ['projects', 'p', { project: 'p', topic: 'projects' }],
    ['d/x/temperature', 'p', undefined],
    ['$SYS/a', 'p', undefined],
  ])('%s of a key in %j', (topic, project, expected) => {
    expect(mounted(topic, project)).toEqual(expected)
  })
})

describe('a template', () => {
  it.each([
    ['{2}', 'plant-7'],
    ['{1}-{2}', 'sensors-plant-7'],
    ['fixed', 'fixed'],
    ['{4}', undefined],
    ['{3}', undefined],
  ])('%s', (template, expected) => {
    expect(filledIn(template, ['sensors', 'plant-7', ''])).toBe(expected)
  })
})
