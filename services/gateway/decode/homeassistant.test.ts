// Home Assistant discovery, by announcements as Zigbee2MQTT, ESPHome, EMS-ESP and others publish them.
import { describe, expect, it } from 'vitest'
import { decodeShort, eventsOf, memoryOf, type Sample, survives } from './fixture.ts'
import { homeassistant } from './homeassistant.ts'

const DEVICE = { identifiers: ['zigbee2mqtt_0x00158d0004470a44'], manufacturer: 'Xiaomi', name: 'porte' }
const AVAILABILITY = [{ topic: 'zb/bridge/state' }, { topic: 'zb/porte/availability' }]
const BATTERY: Sample = [
  'homeassistant/sensor/0x00158d0004470a44/battery/config',
  JSON.stringify({
    availability: AVAILABILITY,
    device: DEVICE,
    device_class: 'battery',
    entity_category: 'diagnostic',
    name: 'porte battery',
    state_topic: 'zb/porte',
    unit_of_measurement: '%',
    value_template: '{{ value_json.battery }}',
  }),
]
const CONTACT: Sample = [
  'homeassistant/binary_sensor/0x00158d0004470a44/contact/config',
  JSON.stringify({
    availability: AVAILABILITY,
    device: DEVICE,
    device_class: 'door',
    payload_off: true,
    payload_on: false,
    state_topic: 'zb/porte',
    value_template: '{{ value_json.contact }}',
  }),
]
const ESPHOME: Sample = [
  'homeassistant/sensor/c3-debug-7b55e0/pressure_voltage/config',
  '{"dev_cla":"voltage","unit_of_meas":"mV","stat_cla":"measurement","name":"Pressure voltage","stat_t":"c3/sensor/pressure_voltage/state",' +
    '"avty_t":"c3/status","uniq_id":"ESPsensorpressure_voltage","dev":{"ids":"6055f97b55e0","name":"c3-debug-7b55e0"}}',
]
const WHOLE: Sample = [
  'homeassistant/device/0AFFD2/config',
  JSON.stringify({
    dev: { ids: 'ea334450945afc', name: 'Kitchen' },
    o: { name: 'bla2mqtt' },
    cmps: {
      t1: {
        p: 'sensor',
        device_class: 'temperature',
        unit_of_measurement: '°F',
        value_template: '{{ value_json.temperature}}',
        unique_id: 'a',
      },
      h1: { p: 'sensor', device_class: 'humidity', unit_of_measurement: '%', value_template: "{{ value_json['humidity'] | float(0) }}" },
      odd: { p: 'sensor', value_template: '{% if value_json.x %}1{% endif %}' },
      go: { p: 'button', command_topic: 'x/y' },
    },
    state_topic: 'sensorBedroom/state',
  }),
]
const TILDE: Sample = [
  'homeassistant/sensor/watermeter/value/config',
  JSON.stringify({
    '~': 'watermeter',
    name: 'Counter',
    unit_of_meas: 'm³',
    dev_cla: 'water',
    state_topic: '~/main/json',
    value_template: '{{ value_json.value}}',
    availability_topic: '~/connection',
    payload_available: 'connected',
    payload_not_available: 'connection lost',
    device: { identifiers: ['12345678'], name: 'Total water meter' },
  }),
]

async function remembered(samples: readonly Sample[]) {
  const memory = memoryOf()
  for (const sample of samples) await decodeShort(homeassistant, sample, { memory })
  return memory
}

describe('homeassistant', () => {
  it('decodes what comes on announced topics, whatever they are called', async () => {
    const memory = await remembered([BATTERY, CONTACT])
    expect(homeassistant.claims?.('zb/porte', memory)).toBe(true)
    expect(homeassistant.claims?.('zb/other', memory)).toBe(false)
    expect(await eventsOf(homeassistant, ['zb/porte', '{"battery":91,"contact":false,"linkquality":3}'], { memory })).toEqual([
      ['zigbee2mqtt_0x00158d0004470a44', 'batteryStatus', { percentage: 91 }],
      ['zigbee2mqtt_0x00158d0004470a44', 'contact', { state: 'OPEN' }],
    ])
    expect(await eventsOf(homeassistant, ['zb/porte/availability', 'offline'], { memory })).toEqual([
      ['zigbee2mqtt_0x00158d0004470a44', 'availability', { state: 'OFFLINE' }],
    ])
    expect(await eventsOf(homeassistant, ['zb/bridge/state', 'offline'], { memory })).toEqual([])
  })

  it('reads short names, and units where the value stands alone', async () => {
    const memory = await remembered([ESPHOME])
    expect(await eventsOf(homeassistant, ['c3/sensor/pressure_voltage/state', '1650.5'], { memory })).toEqual([
      ['6055f97b55e0', 'voltage', { value: 1.6505, original: { value: 1650.5, unit: 'mV' } }],
    ])
    for (const absent of ['nan', 'unknown', 'unavailable', 'None', ''])
      expect(await eventsOf(homeassistant, ['c3/sensor/pressure_voltage/state', absent], { memory })).toEqual([])
    const wrong = await decodeShort(homeassistant, ['c3/sensor/pressure_voltage/state', 'err'], { memory })
    expect(wrong).toEqual({ events: [], failures: [expect.stringMatching(/: expected a number, got "err"$/)] })
    expect(await eventsOf(homeassistant, ['c3/status', 'online'], { memory })).toEqual([
      ['6055f97b55e0', 'availability', { state: 'ONLINE' }],
    ])
  })

  it('reads whole devices, and refuses of them what it does not understand', async () => {
    const memory = memoryOf()
    const { events, failures } = await decodeShort(homeassistant, WHOLE, { memory })
    expect(events).toEqual([])
    expect(failures).toEqual([expect.stringMatching(/^odd: value_template: expected one such as/)])
    expect(await eventsOf(homeassistant, ['sensorBedroom/state', '{"temperature":70.7,"humidity":"40.5"}'], { memory })).toEqual([
      ['ea334450945afc', 'temperature', { value: 21.5, original: { value: 70.7, unit: '°F' } }],
      ['ea334450945afc', 'relativeHumidity', { value: 40.5 }],
      ['ea334450945afc', 'humidity', { relativeHumidity: 40.5, temperature: 21.5 }],
    ])
  })

  it('reads base topics and names of its own for who is there', async () => {
    const memory = await remembered([TILDE])
    expect(await eventsOf(homeassistant, ['watermeter/main/json', '{"value":"12.5"}'], { memory })).toEqual([
      ['12345678', 'volume', { value: 12.5 }],
    ])
    expect(await eventsOf(homeassistant, ['watermeter/connection', 'connection lost'], { memory })).toEqual([
      ['12345678', 'availability', { state: 'OFFLINE' }],
    ])
  })

  it('tells two probes of one device apart, also when they are announced again', async () => {
    const probe = (id: string, name: string): Sample => [
      `homeassistant/sensor/heater/${id}/config`,
      JSON.stringify({ name, dev_cla: 'temperature', unit_of_meas: '°C', stat_t: `heater/${id}`, dev: { ids: ['aa'] } }),
    ]
    const memory = await remembered([probe('flow', 'Flow'), probe('return', 'Return'), probe('flow', 'Vorlauf'), probe('return', 'R')])
    expect(await eventsOf(homeassistant, ['heater/flow', '60'], { memory })).toEqual([['aa', 'temperature', { value: 60 }]])
    expect(await eventsOf(homeassistant, ['heater/return', '40'], { memory })).toEqual([['aa:return', 'temperature', { value: 40 }]])
  })

  it('forgets what an empty announcement removes, without a rest', async () => {
    const samples = [BATTERY, CONTACT, ESPHOME, WHOLE, TILDE]
    const memory = await remembered(samples)
    for (const [topic] of samples) await eventsOf(homeassistant, [topic, ''], { memory })
    expect(homeassistant.claims?.('zb/porte', memory)).toBe(false)
    expect(memory.keys()).toEqual([])
  })

  it('reads EMS-ESP, whose values may be missing', async () => {
    const announce = (id: string, config: object): Sample => [
      `homeassistant/sensor/ems-esp/${id}/config`,
      JSON.stringify({
        '~': 'ems-esp',
        stat_t: '~/boiler_data',
        dev: { ids: ['ems-esp-boiler'] },
        avty: [{ t: '~/boiler_data', val_tpl: `{{'online' if value_json['${id}'] is defined else 'offline'}}` }, { t: '~/status' }],
        val_tpl: `{{value_json['${id}'] if value_json['${id}'] is defined else 0}}`,
        ...config,
      }),
    ]
    const memory = await remembered([
      announce('outdoortemp', { dev_cla: 'temperature', unit_of_meas: '°C' }),
      announce('syspress', { dev_cla: 'pressure', unit_of_meas: 'bar' }),
    ])
    expect(await eventsOf(homeassistant, ['ems-esp/boiler_data', '{"outdoortemp":7.5}'], { memory })).toEqual([
      ['ems-esp-boiler', 'temperature', { value: 7.5 }],
    ])
    expect(await eventsOf(homeassistant, ['ems-esp/status', 'online'], { memory })).toEqual([
      ['ems-esp-boiler', 'availability', { state: 'ONLINE' }],
    ])
  })

  it('reads rtl_433, whose battery is a share', async () => {
    const memory = await remembered([
      [
        'homeassistant/sensor/Acurite-5n1-42/Acurite-5n1-42-B/config',
        '{"device_class":"battery","name":"Battery","unit_of_measurement":"%","value_template":"{{ ((float(value) * 99)|round(0)) + 1 }}",' +
          '"state_topic":"rtl_433/host/devices/Acurite-5n1/42/battery_ok","device":{"identifiers":["Acurite-5n1-42"]}}',
      ],
    ])
    expect(await eventsOf(homeassistant, ['rtl_433/host/devices/Acurite-5n1/42/battery_ok', '1'], { memory })).toEqual([
      ['Acurite-5n1-42', 'batteryStatus', { percentage: 100 }],
    ])
  })

  it('takes a topic with + for that of each gateway, as OpenMQTTGateway announces', async () => {
    const topic = 'homeassistant/sensor/A4C138D61D01-tempc/config'
    const memory = await remembered([
      [
        topic,
        '{"stat_t":"+/+/BTtoMQTT/A4C138D61D01","dev_cla":"temperature","unit_of_meas":"°C","val_tpl":"{{ value_json.tempc | is_defined }}",' +
          '"device":{"identifiers":["A4C138D61D01"]}}',
      ],
    ])
    expect(homeassistant.claims?.('omg/attic/BTtoMQTT/A4C138D61D01', memory)).toBe(true)
    expect(homeassistant.claims?.('omg/attic/BTtoMQTT/A4C138D61D02', memory)).toBe(false)
    expect(await eventsOf(homeassistant, ['omg/attic/BTtoMQTT/A4C138D61D01', '{"tempc":26.3}'], { memory })).toEqual([
      ['A4C138D61D01', 'temperature', { value: 26.3 }],
    ])
    await eventsOf(homeassistant, [topic, ''], { memory })
    expect(homeassistant.claims?.('omg/attic/BTtoMQTT/A4C138D61D01', memory)).toBe(false)
  })

  it('forgets ways to place + with the last announcement that needs them', async () => {
    const memory = memoryOf()
    const announce = (name: string, topic: string | undefined) =>
      eventsOf(homeassistant, [`homeassistant/sensor/${name}/config`, topic === undefined ? '' : JSON.stringify({ stat_t: topic })], {
        memory,
      })
    const topics = Array.from({ length: 40 }, (_, i) => `${'a/'.repeat(i)}+/b`)
    for (const topic of topics) {
      await announce('one', topic)
      await announce('two', `${topic.slice(0, -1)}c`)
      await announce('one', undefined)
      expect(homeassistant.claims?.(topic.replace('+', 'x').replace(/b$/, 'c'), memory)).toBe(true)
    }
    await announce('two', undefined)
    expect(memory.size()).toBe(0)
    for (const [i, topic] of topics.slice(0, 16).entries()) await announce(`n${i}`, topic)
    await expect(announce('more', topics[16])).rejects.toThrow(/^state_topic: at most 16 ways to place \+ in topics/)
  })

  it('reads positions of covers, on their scale, and events', async () => {
    const memory = await remembered([
      [
        'homeassistant/cover/c3/blind/config',
        '{"name":"Blind","pos_t":"c3/cover/blind/position/state","pos_open":0,"pos_clsd":255,"stat_t":"c3/cover/blind/state","dev":{"ids":"c3"}}',
      ],
      ['homeassistant/event/c3/bell/config', '{"name":"Bell","stat_t":"c3/event/bell/state","event_types":["press"],"dev":{"ids":"c3"}}'],
    ])
    expect(await eventsOf(homeassistant, ['c3/cover/blind/position/state', '51'], { memory })).toEqual([['c3', 'position', { value: 80 }]])
    expect(await eventsOf(homeassistant, ['c3/event/bell/state', '{"event_type":"press"}'], { memory })).toEqual([
      ['c3', 'action', { value: 'press' }],
    ])
  })

  it('tells once that a device is there, where a sensor of it says so as well', async () => {
    const memory = await remembered([
      [
        'homeassistant/binary_sensor/c3/status/config',
        '{"dev_cla":"connectivity","name":"Status","stat_t":"c3/status","avty_t":"c3/status","pl_on":"online","pl_off":"offline","dev":{"ids":"c3"}}',
      ],
    ])
    expect(await eventsOf(homeassistant, ['c3/status', 'offline'], { memory })).toEqual([['c3', 'availability', { state: 'OFFLINE' }]])
  })

  it('writes nothing for what is announced again unchanged', async () => {
    const memory = await remembered([BATTERY])
    let writes = 0
    const counted = { ...memory, set: () => void writes++ }
    await decodeShort(homeassistant, BATTERY, { memory: counted })
    expect(writes).toBe(0)
  })

  it('finds a place again for what is announced again, where others have overwritten it', async () => {
    const memory = memoryOf()
    const read = () => eventsOf(homeassistant, ['c3/sensor/pressure_voltage/state', '5'], { memory })
    await eventsOf(homeassistant, ESPHOME, { memory })
    const before = memory.keys()
    for (const key of before) if (key.startsWith('topic/c3/sensor/pressure_voltage/state')) memory.set(key, undefined)
    expect(await read()).toEqual([])
    await eventsOf(homeassistant, ESPHOME, { memory })
    expect(await read()).toEqual([['6055f97b55e0', 'voltage', { value: 0.005, original: { value: 5, unit: 'mV' } }]])
    expect(memory.keys().toSorted()).toEqual(before.toSorted())
  })

  it('knows who is there also when the one who said so first is gone, and another says it again', async () => {
    const memory = memoryOf()
    for (const sample of [BATTERY, CONTACT, [BATTERY[0], ''] as Sample, CONTACT]) await eventsOf(homeassistant, sample, { memory })
    expect(await eventsOf(homeassistant, ['zb/porte/availability', 'online'], { memory })).toEqual([
      ['zigbee2mqtt_0x00158d0004470a44', 'availability', { state: 'ONLINE' }],
    ])
  })

  it('knows of all that two gateways learn at the same time, of one topic', async () => {
    const both = [BATTERY, CONTACT].map(async sample => {
      const rows = new Map<string, string>()
      await decodeShort(homeassistant, sample, { memory: memoryOf(rows) })
      return rows
    })
    const memory = memoryOf(new Map((await Promise.all(both)).flatMap(rows => [...rows])))
    expect(await eventsOf(homeassistant, ['zb/porte', '{"battery":91,"contact":false}'], { memory })).toHaveLength(2)
    expect(await eventsOf(homeassistant, ['zb/porte/availability', 'offline'], { memory })).toHaveLength(1)
    for (const [topic] of [BATTERY, CONTACT]) await eventsOf(homeassistant, [topic, ''], { memory })
    expect(memory.size()).toBe(0)
  })

  it('calls devices by their names where it was told so', async () => {
    const memory = memoryOf()
    const options = { deviceBy: 'name' }
    await decodeShort(homeassistant, BATTERY, { memory, options })
    expect(await eventsOf(homeassistant, ['zb/porte', '{"battery":9}'], { memory, options })).toEqual([
      ['porte', 'batteryStatus', { percentage: 9 }],
    ])
  })

  it.each<[string, object, RegExp]>([
    ['wildcards alone', { state_topic: '+/+' }, /^x: state_topic: expected a topic of the project/],
    ['half a wildcard', { state_topic: 'a/b+' }, /^x: state_topic: expected a topic of the project/],
    ['a wildcard', { state_topic: 'a/#' }, /^x: state_topic: expected a topic of the project/],
    ['a topic of events', { state_topic: 'projects/other/events' }, /^x: state_topic: expected a topic of the project/],
    ['a topic that is none', { state_topic: {} }, /^x: state_topic/],
    ['a program', { state_topic: 'a', value_template: '{{ value_json.a.__class__.__mro__() }}' }, /^x: value_template/],
    ['a long unit', { state_topic: 'a', unit_of_measurement: 'm'.repeat(300) }, /^x: unit_of_measurement/],
  ])('refuses %s', async (_, config, reason) => {
    const { failures } = await decodeShort(homeassistant, ['homeassistant/sensor/x/config', JSON.stringify(config)])
    expect(failures).toEqual([expect.stringMatching(reason)])
  })

  it('remembers only so many', async () => {
    const cmps = Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`c${i}`, { p: 'sensor', stat_t: `s/${i}` }]))
    const announce = (id: number, components: object): Sample => [
      `homeassistant/device/d${id}/config`,
      JSON.stringify({ dev: { ids: [`d${id}`] }, cmps: components }),
    ]
    const memory = memoryOf()
    for (let i = 0; i < 15; i++) await decodeShort(homeassistant, announce(i, cmps), { memory })
    await expect(decodeShort(homeassistant, announce(15, { one: { p: 'sensor', stat_t: 's' } }), { memory })).rejects.toThrow(
      /^entities: at most 3000/,
    )
    const many = { ...cmps, one: { p: 'sensor', stat_t: 's' } }
    await expect(decodeShort(homeassistant, announce(0, many), { memory })).rejects.toThrow(/^components: at most 200/)
  })

  it('leaves alone what announces nothing', async () => {
    expect(await eventsOf(homeassistant, ['homeassistant/status', 'online'])).toEqual([])
    expect(await eventsOf(homeassistant, ['homeassistant/device_automation/0x1/action_single/config', '{"topic":"a/b"}'])).toEqual([])
    await expect(decodeShort(homeassistant, ['homeassistant/sensor/x/config', '{'])).rejects.toThrow(/^payload: not JSON/)
  })

  it('survives damage', async () => {
    const memory = await remembered([BATTERY, CONTACT, ESPHOME, WHOLE, TILDE])
    const samples: Sample[] = [
      BATTERY,
      CONTACT,
      ESPHOME,
      WHOLE,
      TILDE,
      ['zb/porte', '{"battery":91,"contact":false}'],
      ['watermeter/main/json', '{"value":"12.5"}'],
    ]
    await survives(homeassistant, samples, 2000, { memory })
  })
})
