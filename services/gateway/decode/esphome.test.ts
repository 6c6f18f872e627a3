// ESPHome, by topics and states as its documentation describes them.
import { describe, expect, it } from 'vitest'
import { esphome } from './esphome.ts'
import { decodeShort, eventsOf, type Sample, survives } from './fixture.ts'

const OPTIONS = { units: { supply: 'mV' }, names: { supply: 'voltage', living_room_temperature: 'temperature', front: 'door' } }

describe('esphome', () => {
  it.each<[string, string, unknown[]]>([
    ['c3-debug/sensor/humidity/state', '45.5', [['c3-debug', 'relativeHumidity', { value: 45.5 }]]],
    ['c3-debug/sensor/supply/state', '3300', [['c3-debug', 'voltage', { value: 3.3, original: { value: 3300, unit: 'mV' } }]]],
    ['home/c3/sensor/living_room_temperature/state', '21.5', [['home:c3', 'temperature', { value: 21.5 }]]],
    ['c3/sensor/tank_level/state', '3', [['c3', 'tank_level', { value: 3 }]]],
    ['c3/binary_sensor/motion/state', 'ON', [['c3', 'motion', { state: 'MOTION_DETECTED' }]]],
    ['c3/binary_sensor/front/state', 'OFF', [['c3', 'contact', { state: 'CLOSED' }]]],
    ['c3/binary_sensor/jam/state', 'ON', [['c3', 'jam', { value: 'ON' }]]],
    ['c3/switch/pump/state', 'OFF', [['c3:pump', 'switch', { state: 'OFF' }]]],
    [
      'c3/light/lamp/state',
      '{"state":"ON","brightness":200}',
      [
        ['c3:lamp', 'switch', { state: 'ON' }],
        ['c3:lamp', 'state', { brightness: 200 }],
      ],
    ],
    ['c3/text_sensor/version/state', '2026.1.0', [['c3', 'version', { value: '2026.1.0' }]]],
    ['c3/status', 'online', [['c3', 'availability', { state: 'ONLINE' }]]],
    ['c3/sensor/humidity/state', 'nan', []],
    ['c3/sensor/humidity/state', 'None', []],
    ['c3/sensor/pressure/state', '1013.2', [['c3', 'pressure', { pascal: 101_320, original: { value: 1013.2, unit: 'hPa' } }]]],
    ['c3/lock/door/state', 'LOCKED', [['c3:door', 'lock', { state: 'LOCKED' }]]],
    ['c3/lock/door/state', 'JAMMED', [['c3:door', 'state', { lock: 'JAMMED' }]]],
    ['c3/cover/blind/state', 'opening', [['c3:blind', 'state', { state: 'opening' }]]],
    ['c3/cover/blind/position/state', '80', [['c3:blind', 'position', { value: 80 }]]],
    ['c3/climate/hall/current_temperature/state', '21.5', [['c3:hall', 'temperature', { value: 21.5 }]]],
    ['c3/climate/hall/target_temperature/state', '22', [['c3:hall', 'state', { target_temperature: 22 }]]],
    ['c3/climate/hall/mode/state', 'heat', [['c3:hall', 'state', { mode: 'heat' }]]],
    ['c3/event/bell/state', '{"event_type":"press"}', [['c3:bell', 'action', { value: 'press' }]]],
    ['c3/button/restart/state', 'x', []],
    ['c3/switch/pump/command', 'ON', []],
    ['c3/debug', '[D][sensor:094]: x', []],
    ['sensor/humidity/state', '1', []],
  ])('reads %s %s', async (topic, payload, expected) => {
    expect(await eventsOf(esphome, [topic, payload], { options: OPTIONS })).toEqual(expected)
  })

  it('refuses what is no text', () =>
    expect(decodeShort(esphome, ['c3/sensor/humidity/state', Buffer.from([0xff, 0xfe])])).rejects.toThrow('payload: not UTF-8 text'))

  it('refuses a number that is none', async () => {
    const { events, failures } = await decodeShort(esphome, ['c3/sensor/humidity/state', 'err'])
    expect([events, failures]).toEqual([[], ['humidity: expected a number, got "err"']])
  })

  it('survives damage', async () => {
    const samples: Sample[] = [
      ['c3/sensor/supply/state', '3300'],
      ['c3/light/lamp/state', '{"state":"ON","brightness":200,"color":{"r":1}}'],
      ['c3/binary_sensor/front/state', 'OFF'],
    ]
    await survives(esphome, samples, 2000, { options: OPTIONS })
  })
})
