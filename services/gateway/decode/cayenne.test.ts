// Cayenne LPP: the examples of its documentation, every type, and what breaks off.
import { describe, expect, it } from 'vitest'
import { cayenne, channelEvents, channelsIn } from './cayenne.ts'
import { decodeShort, eventsOf, survives } from './fixture.ts'
import type { Format } from './format.ts'

/** It is told the device by the mapping. */
const format: Format = {
  ...cayenne,
  decode: (payload, clock) => cayenne.decode({ ...payload, place: { ...payload.place, device: 'd' } }, clock),
}
const events = (hex: string, options: Record<string, unknown> = { channels: 'fields' }) =>
  eventsOf(format, ['', Buffer.from(hex.replaceAll(' ', ''), 'hex')], { options })

describe('a payload of the documentation of Cayenne', () => {
  it('with two temperature sensors', async () => {
    expect(await events('03 67 01 10 05 67 00 FF')).toEqual([['d', 'temperature', { value: 27.2, channels: { 3: 27.2, 5: 25.5 } }]])
  })

  it('with temperature and accelerometer', async () => {
    expect(await events('01 67 FF D7')).toEqual([['d', 'temperature', { value: -4.1, channel: '1' }]])
    expect(await events('06 71 04 D2 FB 2E 00 00')).toEqual([
      ['d', 'acceleration', { x: 1.234, y: -1.234, z: 0, unit: 'gₙ', channel: '6' }],
    ])
  })

  it('with GPS', async () => {
    expect(await events('01 88 06 76 5F F2 96 0A 00 03 E8')).toEqual([
      ['d', 'location', { latitude: 42.3519, longitude: -87.9094, altitude: 10, channel: '1' }],
    ])
  })
})

describe('every type', () => {
  it.each([
    ['01 00 01', 'digitalInput', { value: 1 }],
    ['01 01 00', 'digitalOutput', { value: 0 }],
    ['01 02 FF 9C', 'analogInput', { value: -1 }],
    ['01 03 01 3A', 'analogOutput', { value: 3.14 }],
    ['01 64 00 01 00 00', 'genericSensor', { value: 65_536 }],
    ['01 65 02 58', 'illuminance', { value: 600 }],
    ['01 66 01', 'occupancy', { state: 'OCCUPIED' }],
    ['01 66 00', 'occupancy', { state: 'NOT_OCCUPIED' }],
    ['01 68 51', 'relativeHumidity', { value: 40.5 }],
    ['01 73 27 90', 'pressure', { pascal: 101_280, original: { value: 1012.8, unit: 'hPa' } }],
    ['01 74 01 4A', 'voltage', { value: 3.3 }],
    ['01 75 00 0A', 'current', { value: 0.01 }],
    ['01 76 00 00 00 32', 'frequency', { value: 50 }],
    ['01 78 64', 'percentage', { value: 100, unit: '%' }],
    ['01 79 FF F6', 'altitude', { value: -10, unit: 'm' }],
    ['01 7D 01 9F', 'concentration', { value: 415, unit: 'ppm' }],
    ['01 80 04 B0', 'power', { value: 1200 }],
    ['01 82 00 00 05 DC', 'distance', { value: 1.5 }],
    ['01 83 00 00 05 DC', 'energy', { value: 1.5 }],
    ['01 84 00 B4', 'heading', { value: 180, unit: '°' }],
    ['01 86 00 64 FF 9C 00 00', 'angularVelocity', { x: 1, y: -1, z: 0, unit: '°/s' }],
    ['01 87 FF 80 00', 'color', { red: 255, green: 128, blue: 0 }],
    ['01 8E 01', 'switch', { state: 'ON' }],
  ])('%s is %s', async (hex, eventType, fields) => {
    expect(await events(hex)).toEqual([['d', eventType, { ...fields, channel: '1' }]])
  })
})

it('has the time that it says, and humidity beside its temperature', async () => {
  expect(await events('00 85 69 55 B9 00 01 67 00 D7 02 68 50')).toEqual([
    ['d', 'temperature', { value: 21.5, channel: '1' }, '2026-01-01T00:00:00.000000Z'],
    ['d', 'relativeHumidity', { value: 40, channel: '2' }, '2026-01-01T00:00:00.000000Z'],
    ['d', 'humidity', { relativeHumidity: 40, temperature: 21.5, channel: '2' }, '2026-01-01T00:00:00.000000Z'],
  ])
})

it('keeps several channels of a type in one event, in its unit, or each as a device', async () => {
  const hex = '01 73 27 90 02 73 27 91 01 88 000001 000002 000064 02 88 000003 000004 0000C8'
  expect(await events(hex)).toEqual([
    ['d', 'pressure', { pascal: 101_280, original: { value: 1012.8, unit: 'hPa' }, channels: { 1: 101_280, 2: 101_290 } }],
    [
      'd',
      'location',
      {
        latitude: 0.0001,
        longitude: 0.0002,
        altitude: 1,
        channels: { 1: { latitude: 0.0001, longitude: 0.0002, altitude: 1 }, 2: { latitude: 0.0003, longitude: 0.0004, altitude: 2 } },
      },
    ],
  ])
})

it('has a device of each channel, whichever of them a payload has', async () => {
  expect(await events('05 67 00 FF', {})).toEqual([['d:5', 'temperature', { value: 25.5, channel: '5' }]])
  expect(await events('05 67 00 FF 05 67 01 10', {})).toEqual([
    ['d:5', 'temperature', { value: 25.5, channel: '5' }],
    ['d:5:2', 'temperature', { value: 27.2, channel: '5' }],
  ])
  expect(await events('03 67 01 10 05 67 00 FF', {})).toEqual([
    ['d:3', 'temperature', { value: 27.2, channel: '3' }],
    ['d:5', 'temperature', { value: 25.5, channel: '5' }],
  ])
})

describe('refused is', () => {
  it.each([
    ['nothing', '', /expected at least one channel/],
    ['an unknown type', '01 67 00 D7 01 09 00', /type 9 at byte 5 is unknown; valid: 0, 1, 2, /],
    ['a channel without a type', '01 67 00 D7 05', /channel 5 has no type/],
    ['more than a device has', '01 67 00 D7'.repeat(257), /at most 256 channels/],
    ['half a value', '01 88 00 00', /location on channel 1 breaks off: 7 bytes are missing/],
  ])('%s', async (_, hex, message) => {
    await expect(events(hex)).rejects.toThrow(message)
  })

  it('a payload of nobody', async () => {
    await expect(decodeShort(cayenne, ['', Buffer.from('016700d7', 'hex')])).rejects.toThrow(
      /^device: missing: Cayenne LPP does not say it/,
    )
  })
})

describe('what network servers made of it', () => {
  const said = (decoded: Record<string, unknown>) => channelEvents(channelsIn(decoded) ?? []).events

  it('is known by the names of The Things Stack', () => {
    expect(said({ temperature_1: 21.5, temperature_2: 22, gps_3: { latitude: 1, longitude: 2, altitude: 3 } })).toEqual([
      { eventType: 'temperature', data: { temperature: { value: 21.5, channels: { 1: 21.5, 2: 22 } } } },
      { eventType: 'location', data: { location: { latitude: 1, longitude: 2, altitude: 3, channel: '3' } } },
    ])
  })

  it('is known by the names of ChirpStack', () => {
    expect(said({ temperatureSensor: { 3: 27.2, 5: 25.5 }, presenceSensor: { 1: 1 } })).toEqual([
      { eventType: 'temperature', data: { temperature: { value: 27.2, channels: { 3: 27.2, 5: 25.5 } } } },
      { eventType: 'occupancy', data: { occupancy: { state: 'OCCUPIED', channel: '1' } } },
    ])
  })

  it('is known in every type that ChirpStack has', () => {
    const decoded = {
      digitalInput: { 1: 1 },
      digitalOutput: { 1: 1 },
      analogInput: { 1: 1.5 },
      analogOutput: { 1: 1.5 },
      genericSensor: { 1: 7 },
      illuminanceSensor: { 1: 600 },
      presenceSensor: { 1: 1 },
      temperatureSensor: { 1: 21.5 },
      humiditySensor: { 1: 40 },
      accelerometer: { 1: { x: 1, y: 0, z: 0 } },
      barometer: { 1: 1012.8 },
      voltage: { 1: 3.3 },
      current: { 1: 0.1 },
      frequency: { 1: 50 },
      percentage: { 1: 50 },
      altitude: { 1: 10 },
      concentration: { 1: 415 },
      power: { 1: 100 },
      distance: { 1: 1.5 },
      energy: { 1: 1.5 },
      direction: { 1: 180 },
      unix_time: { 1: 1_767_225_600 },
      gyrometer: { 1: { x: 1, y: 0, z: 0 } },
      color: { 1: { r: 255, g: 128, b: 0 } },
      gpsLocation: { 1: { latitude: 1, longitude: 2, altitude: 3 } },
      switch: { 1: 1 },
    }
    const { timeUs, events: all } = channelEvents(channelsIn(decoded) ?? [])
    expect(timeUs).toBe(1_767_225_600_000_000)
    // One more with the temperature beside the humidity, and none of the time.
    expect(all).toHaveLength(Object.keys(decoded).length)
    expect(all).toContainEqual({ eventType: 'color', data: { color: { red: 255, green: 128, blue: 0, channel: '1' } } })
  })

  it.each([{ pm2_5: 3 }, { temperature_1: 21.5, other: 1 }, { temperature_1: 'warm' }, { gps_1: { latitude: 1 } }, { barometer: 5 }, {}])(
    'is left to others where it is of another codec: %j',
    decoded => {
      expect(channelsIn(decoded)).toBeUndefined()
    },
  )
})

it('survives whatever comes', async () => {
  const samples = ['03670110056700FF', '0671 04D2FB2E0000', '01880676 5FF2960A0003E8', '00856955B900016700D7026850'].map(
    hex => ['', Buffer.from(hex.replaceAll(' ', ''), 'hex')] as const,
  )
  await survives(format, samples, 5000)
})
