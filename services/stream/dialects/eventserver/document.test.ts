// The rules of the originals' value objects as a table, and ids that carry the place of their event.
import { describe, expect, it } from 'vitest'
import { checkDocument, withId } from './document.ts'
import { EventIds, parseUuid } from './id.ts'

const VALID = {
  event: { name: 'ReadingTaken', version: 1 },
  system: { id: 'gw-7', name: 'cold store', time: '2025-03-02 06:41:09', timezone: 'Europe/Oslo' },
  trigger: { type: 'automatic', name: '/opt/gw/poll' },
  payload: { celsius: 4.65 },
}
type Fields = Record<string, unknown>
/** The valid document with one field changed; taken away when undefined. */
function changed(path: string, value: unknown): string {
  const copy = structuredClone(VALID) as unknown as Fields
  const names = path.split('.')
  const last = names.pop() as string
  const holder = names.reduce((fields, name) => fields[name] as Fields, copy)
  holder[last] = value
  return JSON.stringify(copy)
}
const check = (text: string) => checkDocument(Buffer.from(text))

describe('a document', () => {
  it('is taken as both originals take it', () => {
    expect(check(JSON.stringify(VALID))).toBe('ReadingTaken')
    expect(check(changed('payload', {}))).toBe('ReadingTaken')
    expect(check(changed('system.id', '4b1d6a6e-7c1f-4e0a-9f3b-2a5d8c7e6f10'))).toBe('ReadingTaken')
    expect(check(changed('trigger.type', 'system'))).toBe('ReadingTaken')
    expect(check(changed('event.version', 12))).toBe('ReadingTaken')
    expect(check(changed('more', 'is kept'))).toBe('ReadingTaken')
  })

  it.each([
    '2025-03-02',
    '2025-03-02T06:41',
    '2025-03-02T06:41:09',
    '2025-03-02 06:41:09.123456',
    '2025-03-02T06:41:09+01:00',
    '2024-02-29',
  ])('may have the time %s', time => expect(check(changed('system.time', time))).toBe('ReadingTaken'))

  it.each(['UTC', 'America/Argentina/Ushuaia', 'Asia/Kolkata', 'GMT'])('may have the time zone %s', zone =>
    expect(check(changed('system.timezone', zone))).toBe('ReadingTaken'),
  )

  it.each([
    ['', 'body: not JSON'],
    ['{', 'body: not JSON'],
    ['[]', 'body: expected an object'],
    ['"a"', 'body: expected an object'],
    ['null', 'body: expected an object'],
    ['{}', 'event: expected an object, but it is missing'],
    [`{"event":{"name":"a","name":"b"}}`, 'body: the key "name" is given twice in one object'],
    [changed('eventId', 'x'), 'eventId: it is given by the server'],
    [changed('event', []), 'event: expected an object'],
    [changed('event.id', null), 'event.id: it is given by the server'],
    [changed('event.name', undefined), 'event.name: expected a text, but it is missing'],
    [changed('event.name', ''), 'event.name: expected a text that is not empty'],
    [changed('event.name', 'n'.repeat(256)), 'event.name: at most 255 characters'],
    [changed('event.name', 'a\nb'), 'event.name: expected 1 to'],
    [changed('event.version', undefined), 'event.version: expected a whole number from 1'],
    [changed('event.version', 0), 'event.version: expected a whole number from 1'],
    [changed('event.version', 1.5), 'event.version: expected a whole number from 1'],
    [changed('event.version', '1'), 'event.version: expected a whole number from 1'],
    [changed('event.version', true), 'event.version: expected a whole number from 1'],
    [changed('system', undefined), 'system: expected an object, but it is missing'],
    [changed('system.id', ''), 'system.id: expected a text that is not empty'],
    [changed('system.id', 7), 'system.id: expected a text that is not empty'],
    [changed('system.name', ''), 'system.name: expected a text that is not empty'],
    [changed('system.time', 'yesterday'), 'system.time: expected a time such as'],
    [changed('system.time', '2025-02-29 00:00:00'), 'system.time: expected a time such as'],
    [changed('system.time', '2025-03-02 25:00:00'), 'system.time: expected a time such as'],
    [changed('system.timezone', 'Europe/Atlantis'), 'system.timezone: expected a name such as'],
    [changed('system.timezone', '+01:00'), 'system.timezone: expected a name such as'],
    [changed('system.timezone', ''), 'system.timezone: expected a text that is not empty'],
    [changed('trigger', null), 'trigger: expected an object'],
    [changed('trigger.type', ''), 'trigger.type: expected a text that is not empty'],
    [changed('trigger.name', undefined), 'trigger.name: expected a text, but it is missing'],
    [changed('payload', undefined), 'payload: expected an object, but it is missing'],
    [changed('payload', [1]), 'payload: expected an object'],
    [changed('payload', 'text'), 'payload: expected an object'],
  ])('is refused: %s', (text, why) => {
    expect(() => check(text)).toThrow(
      expect.objectContaining({ code: 'invalid', message: expect.stringMatching(new RegExp(`^${escaped(why)}`)) }),
    )
  })

  it('is refused when it is no UTF-8', () => {
    expect(() => checkDocument(Buffer.from([0x7b, 0xff, 0x7d]))).toThrow('body: expected UTF-8')
  })

  it('is given out as it was written, with its id in both places', () => {
    const text = ' { "payload" : {"event":{"n":12345678901234567890}}, "\\u0065vent" : { "name":"a" } }'
    expect(provide(text)).toBe(
      '{"eventId":"I", "payload" : {"event":{"n":12345678901234567890}}, "\\u0065vent" : {"id":"I", "name":"a" } }',
    )
    expect(JSON.parse(provide(JSON.stringify(VALID)))).toEqual({ ...VALID, eventId: 'I', event: { id: 'I', ...VALID.event } })
  })

  it.each([
    ['{"celsius":4.65}', { celsius: 4.65 }],
    ['{"event":"text"}', { event: 'text' }],
    ['{"event":{}}', { event: {} }],
    ['{"event":{"name":"a","id":1}}', { event: { name: 'a', id: 1 } }],
    ['[1]', { value: [1] }],
    ['21.5', { value: 21.5 }],
    ['"a', { value: '"a' }],
    ['', { value: '' }],
  ])('is made of a message of its name that is none: %s', (text, payload) => {
    expect(JSON.parse(provide(text))).toEqual({ eventId: 'I', event: { id: 'I', name: 'N', version: 1 }, payload })
  })
})

const provide = (text: string) => withId(Buffer.from(text), 'N', 'I')

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
}

describe('the id of an event', () => {
  const ids = new EventIds('secret of the installation')

  it('looks like a UUID of version 4, and gives back the place', () => {
    const seen = new Set<string>()
    for (const seq of [0, 1, 2, 3, 255, 256, 1e6, 2 ** 32, 2 ** 40 - 1]) {
      const id = ids.format('stream', seq)
      expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
      expect(ids.parse('stream', id)).toBe(seq)
      expect(ids.parse('stream', id.toUpperCase())).toBe(seq)
      expect(new EventIds('secret of the installation').format('stream', seq)).toBe(id)
      seen.add(id.slice(-4))
    }
    expect(seen.size).toBe(9)
    expect(() => ids.format('stream', 2 ** 40)).toThrow(RangeError)
  })

  it('is none of another stream or installation, nor is one that was changed', () => {
    const id = ids.format('stream', 7)
    expect(ids.parse('other', id)).toBeUndefined()
    expect(new EventIds('another secret').parse('stream', id)).toBeUndefined()
    for (let at = 0; at < id.length; at++) {
      if (id[at] === '-') continue
      const other = id[at] === '0' ? '1' : '0'
      expect(ids.parse('stream', id.slice(0, at) + other + id.slice(at + 1))).toBeUndefined()
    }
    for (const text of ['', 'x', '4b1d6a6e', '00000000-0000-4000-8000-000000000000']) expect(ids.parse('stream', text)).toBeUndefined()
  })

  it.each([
    ['4B1D6A6E-7C1F-4E0A-9F3B-2A5D8C7E6F10', '4b1d6a6e-7c1f-4e0a-9f3b-2a5d8c7e6f10'],
    ['4b1d6a6e7c1f4e0a9f3b2a5d8c7e6f10', '4b1d6a6e-7c1f-4e0a-9f3b-2a5d8c7e6f10'],
    ['{4b1d6a6e-7c1f-4e0a-9f3b-2a5d8c7e6f10}', '4b1d6a6e-7c1f-4e0a-9f3b-2a5d8c7e6f10'],
    ['urn:uuid:4b1d6a6e-7c1f-4e0a-9f3b-2a5d8c7e6f10', '4b1d6a6e-7c1f-4e0a-9f3b-2a5d8c7e6f10'],
    ['4b1d6a6e-7c1f-4e0a-9f3b-2a5d8c7e6f1', undefined],
    ['4b1d6a6e-7c1f-4e0a-9f3b-2a5d8c7e6f1g', undefined],
    ['', undefined],
  ])('of whatever kind is read as a UUID: %s', (text, uuid) => expect(parseUuid(text)).toBe(uuid))
})
