// The rows of the device table.
import { expect, test } from 'vitest'
import type { DeviceEvent } from '../../../packages/core/event.ts'
import { arrange, Fleet, labelText, numericReadings } from './fleet.ts'

function event(device: string, eventType: string, inner: unknown, second: number): DeviceEvent {
  const timestamp = `2026-01-01T00:00:${String(second).padStart(2, '0')}.000000Z`
  return { eventId: 'e', targetName: `projects/p/devices/${device}`, eventType, data: { [eventType]: inner }, timestamp }
}

function device(id: string, type: string, labels: Record<string, string>, reported: Record<string, unknown> = {}) {
  return { name: `projects/p/devices/${id}`, type, labels, reported }
}

test('the newer of list and stream is shown, whichever comes last', () => {
  const fleet = new Fleet()
  fleet.putEvent(event('d', 'temperature', { value: 2 }, 20))
  fleet.putDevice(device('d', 'temperature', { name: 'Freezer' }, { temperature: { value: 1, updateTime: '2026-01-01T00:00:10Z' } }))
  expect(fleet.row('d')).toMatchObject({ name: 'Freezer', latest: { value: 2 } })
  fleet.putEvent(event('d', 'temperature', { value: 0 }, 5))
  expect(fleet.row('d')?.latest?.value).toBe(2)
})

test('a device first seen in the stream is shown at once and reported as unknown until then', () => {
  const fleet = new Fleet()
  expect(fleet.putEvent(event('new', 'co2', { ppm: 700 }, 1))).toBe(false)
  expect(fleet.putEvent(event('new', 'co2', { ppm: 710 }, 2))).toBe(true)
  expect(fleet.row('new')).toMatchObject({ name: 'new', type: 'co2', latest: { text: '710\u00a0ppm' } })
})

test('a battery report does not replace the value a device is there for', () => {
  const fleet = new Fleet()
  fleet.putDevice(device('d', 'temperature', {}))
  fleet.putEvent(event('d', 'batteryStatus', { percentage: 80 }, 1))
  expect(fleet.row('d')?.latest?.text).toBe('80\u00a0%')
  fleet.putEvent(event('d', 'temperature', { value: 4 }, 2))
  fleet.putEvent(event('d', 'batteryStatus', { percentage: 79 }, 3))
  expect(fleet.row('d')?.latest?.text).toBe('4\u00a0°C')
  expect(numericReadings(fleet.row('d') ?? expect.fail()).map(one => one.eventType)).toEqual(['temperature', 'batteryStatus'])
})

test('values that are words, bare numbers or nothing are shown as such', () => {
  const fleet = new Fleet()
  fleet.putEvent(event('door', 'contact', { state: 'OPEN' }, 1))
  fleet.putEvent(event('bare', 'level', 21.5, 1))
  fleet.putEvent(event('button', 'touch', { updateTime: '2026-01-01T00:00:01Z' }, 1))
  fleet.putEvent(event('odd', 'weather', { wind: { speed: 7 } }, 1))
  expect(['door', 'bare', 'button', 'odd'].map(id => fleet.row(id)?.latest?.text)).toEqual(['open', '21.5', 'touch', '7 wind.speed'])
})

test('changed labels rename a device', () => {
  const fleet = new Fleet()
  fleet.putDevice(device('d', 'temperature', { name: 'Old', room: 'a' }))
  const data = { added: { line: '3' }, modified: { name: 'New' }, removed: ['room'] }
  fleet.putEvent({ ...event('d', 'labelsChanged', null, 1), data })
  const row = fleet.row('d') ?? expect.fail()
  expect([row.name, labelText(row)]).toEqual(['New', 'line: 3'])
})

test('the order may differ only when a device comes, goes or gets another type or label, not with what it reports', () => {
  const fleet = new Fleet()
  const changes = (act: () => unknown) => {
    const before = fleet.membership
    act()
    return fleet.membership - before
  }
  expect(changes(() => fleet.putDevice(device('d', 'temperature', { room: 'a' })))).toBe(1)
  expect(changes(() => fleet.putDevice(device('d', 'temperature', { room: 'a' }, { temperature: { value: 1 } })))).toBe(0)
  expect(changes(() => fleet.putEvent(event('d', 'temperature', { value: 2 }, 1)))).toBe(0)
  expect(changes(() => fleet.putDevice(device('d', 'temperature', { room: 'b' })))).toBe(1)
  expect(changes(() => fleet.putDevice(device('d', 'co2', { room: 'b' })))).toBe(1)
  expect(changes(() => fleet.forget(['d', 'nobody']))).toBe(1)
})

test('the filter wants every word, in name, id, type or label', () => {
  const fleet = new Fleet()
  fleet.putDevice(device('d1', 'temperature', { name: 'Freezer 10', room: 'Lab' }))
  fleet.putDevice(device('d2', 'temperature', { name: 'Freezer 9', room: 'Store' }))
  const find = (filter: string) => arrange(fleet.rows(), filter, { key: 'name', descending: false }).map(row => row.id)
  expect(find('')).toEqual(['d2', 'd1'])
  expect(find('freezer ROOM=lab')).toEqual(['d1'])
  expect(find('d2')).toEqual(['d2'])
  expect(find('oven')).toEqual([])
})

test('sorting by value puts numbers before words and devices without a value last, in both directions', () => {
  const fleet = new Fleet()
  fleet.putDevice(device('none', 'temperature', {}))
  fleet.putEvent(event('two', 'temperature', { value: 2 }, 1))
  fleet.putEvent(event('ten', 'temperature', { value: 10 }, 3))
  fleet.putEvent(event('door', 'contact', { state: 'OPEN' }, 2))
  const order = (key: 'value' | 'age', descending: boolean) => arrange(fleet.rows(), '', { key, descending }).map(row => row.id)
  expect(order('value', false)).toEqual(['two', 'ten', 'door', 'none'])
  expect(order('value', true)).toEqual(['ten', 'two', 'door', 'none'])
  expect(order('age', false)).toEqual(['ten', 'door', 'two', 'none'])
})
