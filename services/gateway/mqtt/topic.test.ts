// Topics: which are ingest, and what a key may publish and subscribe to (hazards 5-8, 11).
import { describe, expect, it } from 'vitest'
import type { Caller } from '../../../packages/identity/identity.ts'
import { fullTopic, ingestPlace, isShort, mayPublish, mayReceive, maySubscribe, mounted, refusalOf, unmounted } from './topic.ts'

const caller = (roles: Caller['roles']): Caller => ({ keyId: 'k', account: 'a', roles })
const user = caller({ home: 'user' })
const developer = caller({ home: 'developer' })
const admin = caller({ home: 'admin' })
const operator: Caller = { ...admin, organizations: ['default'] }
const device: Caller = { ...caller({}), device: { project: 'home', id: 'door' } }

describe('an ingest topic', () => {
  it.each([
    ['d/door 1/contact', { project: 'home', device: 'door 1', eventType: 'contact' }],
    ['projects/p/devices/door/events/contact', { project: 'p', device: 'door', eventType: 'contact' }],
    ['projects/p/devices/door/events', { project: 'p', device: 'door', eventType: undefined }],
    // Refused by the decoder, with a reason that can be read in the quarantine.
    ['d//contact', { project: 'home', device: '', eventType: 'contact' }],
    ['projects//devices/door/events', { project: '', device: 'door', eventType: undefined }],
  ])('%s says where the event belongs', (topic, place) => {
    expect(ingestPlace(topic, 'home')).toEqual(place)
  })

  it.each([
    'd',
    'd/door',
    'd/door/contact/more',
    'D/door/contact',
    '/d/door/contact',
    'projects/p/devices/door',
    'projects/p/devices/door/state',
    'projects/p/devices/door/events/contact/more',
    'projects/p/alarms/hot/door',
    'sensors/door',
    '',
  ])('is not %j', topic => {
    expect(ingestPlace(topic, 'home')).toBeUndefined()
  })

  it('in short is none for a key without a project of its own, which is told the long form', () => {
    expect(ingestPlace('d/door/contact', '')).toBeUndefined()
    expect(refusalOf('d/door/contact')).toContain('expected projects/{project}/devices/{device}/events/{eventType}')
  })

  it('in short is spelt out for those who subscribe, so that projects do not meet', () => {
    expect(fullTopic({ project: 'home', device: 'door 1', eventType: 'contact' })).toBe('projects/home/devices/door 1/events/contact')
    expect(fullTopic({ project: 'home', device: 'door', eventType: undefined })).toBe('projects/home/devices/door/events')
  })
})

describe('publishing', () => {
  it.each([
    ['$SYS/x/new/clients', false],
    ['$share/g/x', false],
    ['$telltale/refused', false],
    ['d/door', false],
    ['projects/home/alarms/hot/door', false],
    ['projects/home/alarms', false],
    ['projects/home/devices/door/state', true],
    ['projects/home', true],
    ['projects/other/devices/door/state', false],
    ['projects/__proto__/x', false],
    ['projects/constructor/x', false],
    ['projects', false],
    ['projects/', false],
  ])('to %j by an admin of its project: %s', (topic, may) => {
    expect(mayPublish(admin, topic)).toBe(may)
    expect(mayPublish(operator, topic)).toBe(may)
  })

  it.each(['sensors/door', '/sensors', 'Projects/home/x', ''])(
    'to %j, which is of no project, is for nobody: it has to be mounted',
    topic => {
      expect([admin, operator, device].map(one => mayPublish(one, topic))).toEqual([false, false, false])
    },
  )

  it('to a short topic without a project of one’s own says what is missing', () => {
    expect(refusalOf('sensors/door')).toContain("short for one in the key's own project")
    expect(refusalOf('projects/other/x')).toBe('topic "projects/other/x" is not this key\'s')
  })

  it('as a device is for ingest alone', () => {
    expect(mayPublish(device, 'projects/home/devices/door/state')).toBe(false)
    expect(mayPublish(device, 'projects/home/x')).toBe(false)
  })

  it('inside of projects is for developers', () => {
    expect([user, developer].map(one => mayPublish(one, 'projects/home/x'))).toEqual([false, true])
  })
})

describe('subscribing', () => {
  it.each(['projects/home/#', 'projects/home/alarms/+/+', 'projects/home/devices/+/events/temperature', 'projects/home'])(
    'to %s is granted to an admin of home',
    filter => {
      expect(maySubscribe(admin, filter)).toBe(true)
    },
  )

  it.each([
    '#',
    '+',
    '+/home/#',
    '+/+',
    '/#',
    '$SYS/#',
    '$share/g/#',
    '$share/g/projects/home/#',
    'projects',
    'projects/#',
    'projects/+/alarms/#',
    'projects/+/#',
    'projects/other/#',
    'projects/ho+/x',
    'projects/__proto__/#',
    'projects/constructor/#',
    'd/#',
    'd/door/contact',
    '',
  ])('to %j is granted to nobody', filter => {
    expect(maySubscribe(admin, filter)).toBe(false)
    expect(maySubscribe(operator, filter)).toBe(false)
  })

  it.each([
    ['projects/home/devices/door/#', true],
    ['projects/home/devices/door', true],
    ['projects/home/devices/door/rejected', true],
    ['projects/home/devices/door/events/+', true],
    ['projects/home/devices/+/events', false],
    ['projects/home/devices/doors/#', false],
    ['projects/home/devices/door:3/#', true],
    ['projects/home/devices/door:3/rejected', true],
    ['projects/home/devices/door:3/events/temperature', true],
    ['projects/home/devices/door:/#', false],
    ['projects/home/devices/door-3/#', false],
    ['projects/home/devices/door:stream', false],
    ['projects/home/devices/door:3:stream', false],
    ['projects/home/devices:stream', false],
    ['projects/other/devices/door:3/#', false],
    ['projects/home/devices/#', false],
    ['projects/home/#', false],
    ['projects/home/alarms/door', false],
    ['projects/other/devices/door/#', false],
    ['projects/home/topics/x', false],
  ])('to %s is granted to the device itself: %s', (filter, may) => {
    expect(maySubscribe(device, filter)).toBe(may)
  })

  it('needs some role in the project', () => {
    expect(maySubscribe(user, 'projects/home/#')).toBe(true)
    expect(maySubscribe(caller({}), 'projects/home/#')).toBe(false)
    expect(maySubscribe(developer, 'sensors/#')).toBe(false)
  })
})

describe('what waited for a client', () => {
  const frame = (result: object) => Buffer.from(JSON.stringify({ result }))
  const nothing = Buffer.alloc(0)

  it.each([
    ['projects/home/devices/door/events/contact', nothing, true],
    ['projects/other/devices/door/events/contact', nothing, false],
    ['projects/home/devices:stream?event_types=contact', nothing, true],
    ['projects/other/devices:stream', nothing, false],
    ['projects/-/devices:stream', frame({ event: { targetName: 'projects/home/devices/door' } }), true],
    ['projects/-/devices:stream', frame({ event: { targetName: 'projects/other/devices/door' } }), false],
    ['projects/-/alarms:stream', frame({ alarm: { name: 'projects/other/alarms/a' } }), false],
    ['projects/-/devices:stream', Buffer.from('{"error":{"code":408}}'), false],
    ['sensors/door', nothing, false],
  ])('on %s is for who may have it now', (topic, payload, may) => {
    expect(mayReceive(user, topic, payload)).toBe(may)
  })
})

describe('a short topic', () => {
  it.each([
    ['zigbee2mqtt/lamp', 'projects/home/topics/zigbee2mqtt/lamp'],
    ['tele/+/SENSOR', 'projects/home/topics/tele/+/SENSOR'],
    ['/leading', 'projects/home/topics//leading'],
    ['d', 'projects/home/topics/d'],
    ['projectsx/y', 'projects/home/topics/projectsx/y'],
  ])('%s stands in the space of the project, and is shown as it was written', (topic, long) => {
    expect(mounted(topic, 'home')).toBe(long)
    expect(unmounted(long)).toBe(topic)
  })

  it.each(['projects/p/x', 'd/door/contact', '$SYS/x', '#', '+/x', ''])('is not %j', topic => {
    expect(isShort(topic)).toBe(false)
    expect(mounted(topic, 'home')).toBe(topic)
  })

  it('without a project of one’s own stays as it is', () => {
    expect(mounted('sensors/x', '')).toBe('sensors/x')
  })
})
