// Zigbee2MQTT, by payloads as its documentation and its issues show them.
import { describe, expect, it } from 'vitest'
import { decodeShort, eventsOf, memoryOf, type Sample, survives } from './fixture.ts'
import { zigbee2mqtt } from './zigbee2mqtt.ts'

const DEVICES = JSON.stringify([
  {
    ieee_address: '0x00158d00018255df',
    type: 'Router',
    supported: true,
    friendly_name: 'my_plug',
    definition: {
      model: 'ZNCZ02LM',
      vendor: 'Xiaomi',
      exposes: [
        { type: 'switch', features: [{ type: 'binary', name: 'state', property: 'state', value_on: 'ON', value_off: 'OFF', access: 7 }] },
        { type: 'numeric', name: 'power', property: 'power', unit: 'kW', access: 5 },
        { type: 'numeric', name: 'voltage', property: 'voltage', unit: 'V', access: 5 },
      ],
    },
  },
  {
    ieee_address: '0x0001',
    friendly_name: 'wall',
    definition: {
      exposes: [
        { type: 'switch', endpoint: 'l1', features: [{ name: 'state', property: 'state_l1', endpoint: 'l1' }] },
        { type: 'switch', endpoint: 'buzz', features: [{ name: 'state', property: 'state_buzz', endpoint: 'buzz' }] },
      ],
    },
  },
  { ieee_address: '0x00169a00022256da', friendly_name: 'my_sensor', supported: false, definition: null },
])

const SAMPLES: readonly Sample[] = [
  ['zigbee2mqtt/kitchen/fridge', '{"battery":91,"humidity":44.72,"linkquality":102,"pressure":1009.5,"temperature":27.34,"voltage":2975}'],
  ['zigbee2mqtt/my_plug', '{"state":"ON","power":0.4,"voltage":231,"energy":12.5,"last_seen":"2026-01-31T11:59:00+01:00"}'],
  ['zigbee2mqtt/wall', '{"linkquality":84,"state_left":"ON","state_right":"OFF"}'],
  ['zigbee2mqtt/bridge/devices', DEVICES],
  ['zigbee2mqtt/bridge/groups', '[{"id":1,"friendly_name":"my_group","members":[]}]'],
]

describe('zigbee2mqtt', () => {
  it.each<[string, Sample, unknown[]]>([
    [
      'a battery sensor',
      SAMPLES[0] as Sample,
      [
        ['kitchen:fridge', 'batteryStatus', { percentage: 91 }],
        ['kitchen:fridge', 'relativeHumidity', { value: 44.72 }],
        ['kitchen:fridge', 'humidity', { relativeHumidity: 44.72, temperature: 27.34 }],
        ['kitchen:fridge', 'linkQuality', { value: 102 }],
        ['kitchen:fridge', 'pressure', { pascal: 100_950, original: { value: 1009.5, unit: 'hPa' } }],
        ['kitchen:fridge', 'temperature', { value: 27.34 }],
        ['kitchen:fridge', 'batteryVoltage', { value: 2.975, original: { value: 2975, unit: 'mV' } }],
      ],
    ],
    ['a magnet that touches', ['zigbee2mqtt/porte', '{"contact":true}'], [['porte', 'contact', { state: 'CLOSED' }]]],
    ['motion', ['zigbee2mqtt/hall', '{"occupancy":true}'], [['hall', 'motion', { state: 'MOTION_DETECTED' }]]],
    [
      'presence beside it',
      ['zigbee2mqtt/hall', '{"presence":true,"occupancy":false,"linkquality":3}'],
      [
        ['hall', 'occupancy', { state: 'OCCUPIED' }],
        ['hall', 'motion', { state: 'NO_MOTION_DETECTED' }],
        ['hall', 'linkQuality', { value: 3 }],
      ],
    ],
    [
      'light as the cluster has it and in lux, air as it is worked out',
      ['zigbee2mqtt/m', '{"illuminance":20000,"illuminance_lux":99,"co2":410,"eco2":400}'],
      [
        ['m', 'illuminance', { value: 99 }],
        ['m', 'co2', { ppm: 410 }],
        ['m', 'eco2', { value: 400 }],
        ['m', 'state', { illuminance: 20000 }],
      ],
    ],
    [
      'a meter of three phases',
      [
        'zigbee2mqtt/m',
        '{"power_apparent":310,"power_apparent_phase_b":12,"power_reactive":-20,"ac_frequency":50,"energy_produced":7.5,"energy_produced_a":2}',
      ],
      [
        ['m', 'apparentPower', { value: 310 }],
        ['m', 'reactivePower', { value: -20 }],
        ['m', 'frequency', { value: 50 }],
        ['m', 'energyReturned', { value: 7.5 }],
        ['m:phase_b', 'apparentPower', { value: 12 }],
        ['m:a', 'energyReturned', { value: 2 }],
      ],
    ],
    ['a button', ['zigbee2mqtt/b', '{"action":"single"}'], [['b', 'action', { value: 'single' }]]],
    ['a button that is done', ['zigbee2mqtt/b', '{"action":"","click":null}'], []],
    [
      'a light',
      ['zigbee2mqtt/lamp', '{"state":"ON","brightness":215,"color":{"x":0.1,"y":0.2},"update":{"state":"idle"}}'],
      [
        ['lamp', 'switch', { state: 'ON' }],
        ['lamp', 'state', { brightness: 215, color: { x: 0.1, y: 0.2 } }],
      ],
    ],
    [
      'endpoints',
      SAMPLES[2] as Sample,
      [
        ['wall', 'linkQuality', { value: 84 }],
        ['wall:left', 'switch', { state: 'ON' }],
        ['wall:right', 'switch', { state: 'OFF' }],
      ],
    ],
    [
      'phases',
      ['zigbee2mqtt/meter', '{"power":5,"power_phase_b":7}'],
      [
        ['meter', 'power', { value: 5 }],
        ['meter:phase_b', 'power', { value: 7 }],
      ],
    ],
    ['who is there', ['zigbee2mqtt/a/b/availability', '{"state":"offline"}'], [['a:b', 'availability', { state: 'OFFLINE' }]]],
    ['who is there, as text', ['zigbee2mqtt/a/availability', 'online'], [['a', 'availability', { state: 'ONLINE' }]]],
    ['an attribute', ['zigbee2mqtt/a/temperature', '21.5'], [['a', 'temperature', { value: 21.5 }]]],
    ['a command', ['zigbee2mqtt/a/set', '{"state":"ON"}'], []],
    ['a command of an endpoint', ['zigbee2mqtt/a/l1/set/state', 'ON'], []],
    ['a log line', ['zigbee2mqtt/bridge/logging', '{"level":"info","message":"x"}'], []],
    ['nothing', ['zigbee2mqtt/a', ''], []],
    ['another base topic', ['zigbee2/a', '{"temperature":1}'], []],
  ])('reads %s', async (_, sample, expected) => expect(await eventsOf(zigbee2mqtt, sample)).toEqual(expected))

  it.each(['"2026-01-31T11:59:00+01:00"', '1769857140000'])('takes last_seen %s for the time of the event', async seen => {
    const events = await eventsOf(zigbee2mqtt, ['zigbee2mqtt/a', `{"battery":3,"last_seen":${seen}}`])
    expect(events).toEqual([['a', 'batteryStatus', { percentage: 3 }, expect.stringMatching(/2026-01-31T1[01]:59:00.000000Z/)]])
  })

  it('learns units and endpoints from the bridge, and forgets devices that are gone', async () => {
    const memory = memoryOf()
    await eventsOf(zigbee2mqtt, ['zigbee2mqtt/bridge/devices', DEVICES], { memory })
    const plug = await eventsOf(zigbee2mqtt, ['zigbee2mqtt/my_plug', '{"power":0.4,"voltage":1231}'], { memory })
    expect(plug).toEqual([
      ['my_plug', 'power', { value: 400, original: { value: 0.4, unit: 'kW' } }],
      ['my_plug', 'voltage', { value: 1231 }],
    ])
    const wall = await eventsOf(zigbee2mqtt, ['zigbee2mqtt/wall', '{"state_buzz":"ON"}'], { memory })
    expect(wall).toEqual([['wall:buzz', 'switch', { state: 'ON' }]])
    await eventsOf(zigbee2mqtt, ['zigbee2mqtt/bridge/devices', '[]'], { memory })
    expect(memory.keys().filter(key => key.startsWith('device'))).toEqual([])
  })

  it('leaves groups out, whose members say the same, and attributes beside JSON', async () => {
    const memory = memoryOf()
    await eventsOf(zigbee2mqtt, SAMPLES[4] as Sample, { memory })
    expect(await eventsOf(zigbee2mqtt, ['zigbee2mqtt/my_group', '{"state":"ON"}'], { memory })).toEqual([])
    expect(await eventsOf(zigbee2mqtt, ['zigbee2mqtt/my_group/availability', '{"state":"online"}'], { memory })).toEqual([])
    await eventsOf(zigbee2mqtt, ['zigbee2mqtt/b', '{"action":"single"}'], { memory })
    expect(await eventsOf(zigbee2mqtt, ['zigbee2mqtt/b/action', 'single'], { memory })).toEqual([])
  })

  it('does as the bridge is configured', async () => {
    const memory = memoryOf()
    await eventsOf(zigbee2mqtt, ['zigbee2mqtt/bridge/info', '{"config":{"advanced":{"output":"attribute"}}}'], { memory })
    await eventsOf(zigbee2mqtt, ['zigbee2mqtt/b', '{"action":"single"}'], { memory })
    expect(await eventsOf(zigbee2mqtt, ['zigbee2mqtt/b/action', 'single'], { memory })).toEqual([['b', 'action', { value: 'single' }]])
    const options = { baseTopic: 'home/zigbee' }
    expect(await eventsOf(zigbee2mqtt, ['home/zigbee/b', '{"action":"on"}'], { options })).toEqual([['b', 'action', { value: 'on' }]])
  })

  it('refuses what is no state of a device, and what cannot be a reading', async () => {
    await expect(decodeShort(zigbee2mqtt, ['zigbee2mqtt/a', 'oops'])).rejects.toThrow(/^payload: not JSON/)
    await expect(decodeShort(zigbee2mqtt, ['zigbee2mqtt/a', '[1]'])).rejects.toThrow('payload: expected a JSON object')
    await expect(decodeShort(zigbee2mqtt, ['zigbee2mqtt/a', '{"last_seen":"noon"}'])).rejects.toThrow(/^last_seen: expected/)
    const wrong = await decodeShort(zigbee2mqtt, ['zigbee2mqtt/a', '{"temperature":"err","humidity":true,"power":2,"volume":"high"}'])
    expect(wrong.events).toEqual([
      ['a', 'power', { value: 2 }],
      ['a', 'state', { volume: 'high' }],
    ])
    expect(wrong.failures).toEqual(['temperature: expected a number, got "err" (and 1 more)'])
    const odd = await decodeShort(zigbee2mqtt, ['zigbee2mqtt/a', '{"__proto__":{"x":1},"constructor":1,"battery":1e999,"power":2}'])
    expect(odd.events).toEqual([['a', 'power', { value: 2 }]])
    expect(odd.failures).toEqual([expect.stringContaining('(and 1 more)')])
  })

  it('survives damage', () => survives(zigbee2mqtt, SAMPLES))
})
