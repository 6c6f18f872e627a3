// Shelly devices of both families, by payloads as their documentation and logs of devices show them.
import { describe, expect, it } from 'vitest'
import { decodeShort, eventsOf, memoryOf, type Sample, survives } from './fixture.ts'
import { shelly } from './shelly.ts'

const rpc = (id: string, method: string, params: object): Sample => [
  `${id}/events/rpc`,
  JSON.stringify({ src: id, dst: `${id}/events`, method, params }),
]
const PLUG = rpc('shellyplus1pm-4417939341dc', 'NotifyStatus', { ts: 1661517385.44, 'switch:0': { id: 0, voltage: 232.7 } })
const METER = rpc('shellypro3em-ec6260890b50', 'NotifyStatus', {
  ts: 1682952865,
  'em:0': { id: 0, a_current: 3.761, a_act_power: 342.8, b_act_power: 957.3, c_act_power: 0.2, n_current: null, total_act_power: 1300.252 },
  'emdata:0': { id: 0, a_total_act_energy: 1_075_513.08, total_act: 2_852_055.81 },
})
const SWITCH: Sample = [
  'shellies/plus1pm/status/switch:0',
  '{"id":0, "source":"init", "output":false, "apower":0.0, "voltage":232.7, "current":0.000, "aenergy":{"total":1500.000,' +
    '"by_minute":[0.000,0.000,0.000],"minute_ts":1661517385},"temperature":{"tC":39.2, "tF":102.5}}',
]
const INFO: Sample = [
  'shellies/shelly1/info',
  '{"wifi_sta":{"connected":true,"rssi":-59},"unixtime":1661517385,"relays":[{"ison":false}],"meters":[{"power":0.00}],"uptime":7}',
]
const BLU = rpc('shellyplus1-a', 'NotifyEvent', {
  ts: 1682952865,
  events: [
    {
      component: 'script:1',
      event: 'shelly-blu',
      data: {
        encryption: false,
        BTHome_version: 2,
        pid: 3,
        battery: 100,
        illuminance: 13,
        window: 1,
        address: 'BC:02:6E:C3:8F:A8',
        rssi: -58,
      },
    },
  ],
})
const SAMPLES: readonly Sample[] = [PLUG, METER, SWITCH, INFO, BLU, ['shellies/button/input_event/0', '{"event":"S","event_cnt":1}']]

describe('shelly, first generation', () => {
  it.each<[string, string, unknown[]]>([
    ['shellies/shellyplug-s-C18B12/relay/0', 'on', [['shellyplug-s-C18B12', 'switch', { state: 'ON' }]]],
    ['shellies/shelly25/relay/1', 'off', [['shelly25:1', 'switch', { state: 'OFF' }]]],
    ['shellies/plug/relay/0/power', '37.53', [['plug', 'power', { value: 37.53 }]]],
    ['shellies/plug/relay/0/energy', '90000', [['plug', 'energy', { value: 1.5, original: { value: 90_000, unit: 'Wmin' } }]]],
    ['shellies/plug/temperature', '41.5', [['plug', 'deviceTemperature', { value: 41.5 }]]],
    ['shellies/plug/overtemperature', '0', [['plug', 'overheat', { state: 'NOT_DETECTED' }]]],
    ['shellies/shellyht-208500/sensor/temperature', '22.5', [['shellyht-208500', 'temperature', { value: 22.5 }]]],
    ['shellies/shellyht-208500/sensor/humidity', '45.5', [['shellyht-208500', 'relativeHumidity', { value: 45.5 }]]],
    ['shellies/shellydw2/sensor/state', 'open', [['shellydw2', 'contact', { state: 'OPEN' }]]],
    ['shellies/shellydw2/sensor/vibration', '1', [['shellydw2', 'vibration', { state: 'DETECTED' }]]],
    ['shellies/shellydw2/sensor/vibration', '0', [['shellydw2', 'vibration', { state: 'NOT_DETECTED' }]]],
    ['shellies/shelly1/info', '{"wifi_sta":{"connected":false,"rssi":0},"uptime":7}', [['shelly1', 'uptime', { value: 7 }]]],
    ['shellies/flood/sensor/flood', 'true', [['flood', 'waterPresent', { state: 'PRESENT' }]]],
    ['shellies/shellies/shellyem3/emeter/1/voltage', '230.35', [['shellyem3:1', 'voltage', { value: 230.35 }]]],
    ['shellies/em/emeter/0/total', '500.5', [['em', 'energy', { value: 0.5005, original: { value: 500.5, unit: 'Wh' } }]]],
    ['shellies/shelly1/ext_temperature/1', '19.5', [['shelly1:ext1', 'temperature', { value: 19.5 }]]],
    ['shellies/shelly1/input/0', '1', [['shelly1:input0', 'switch', { state: 'ON' }]]],
    ['shellies/shelly1/online', 'false', [['shelly1', 'availability', { state: 'OFFLINE' }]]],
    ['shellies/shelly1/relay/0/command', 'on', []],
    ['shellies/announce', '{"id":"shelly1"}', []],
    ['shellies/shelly1/announce', '{"id":"shelly1","model":"SHSW-1"}', []],
    ['shellies/shelly1/ext_temperatures', '{}', []],
  ])('reads %s %s', async (topic, payload, expected) => expect(await eventsOf(shelly, [topic, payload])).toEqual(expected))

  it('knows a new press by its count, for the last one is repeated', async () => {
    const memory = memoryOf()
    const press = (event: string, count: number) =>
      eventsOf(shelly, ['shellies/i3/input_event/0', JSON.stringify({ event, event_cnt: count })], { memory })
    expect(await press('L', 7)).toEqual([])
    expect(await press('L', 7)).toEqual([])
    expect(await press('SS', 8)).toEqual([['i3:input0', 'action', { value: 'double' }]])
    expect(await press('SS', 8)).toEqual([])
  })

  it('reads valves', async () => {
    const info: Sample = [
      'shellies/shellytrv-8CF681E1363A/info',
      '{"wifi_sta":{"connected":true,"rssi":-63},"unixtime":1661517385,"bat":{"value":94,"voltage":4.06},"charger":false,' +
        '"thermostats":[{"pos":12.4,"target_t":{"enabled":true,"value":20.5,"units":"C"},"tmp":{"value":19,"units":"C","is_valid":true}}]}',
    ]
    expect((await eventsOf(shelly, info)).map(event => (event as unknown[]).slice(1, 3))).toEqual([
      ['rssi', { value: -63 }],
      ['temperature', { value: 19 }],
      ['position', { value: 12.4 }],
      ['batteryStatus', { percentage: 94 }],
      ['batteryVoltage', { value: 4.06 }],
      ['state', { target_t: 20.5 }],
    ])
  })

  it('takes the time of the last motion for that of motion alone', async () => {
    const status = (moves: boolean): Sample => [
      'shellies/shellymotionsensor-60A423976594/status',
      `{"motion":${moves},"timestamp":1614416952,"active":true,"vibration":false,"lux":303,"bat":87}`,
    ]
    const rest = [
      ['shellymotionsensor-60A423976594', 'vibration', { state: 'NOT_DETECTED' }],
      ['shellymotionsensor-60A423976594', 'illuminance', { value: 303 }],
      ['shellymotionsensor-60A423976594', 'batteryStatus', { percentage: 87 }],
    ]
    expect(await eventsOf(shelly, status(true))).toEqual([
      ['shellymotionsensor-60A423976594', 'motion', { state: 'MOTION_DETECTED' }, '2021-02-27T09:09:12.000000Z'],
      ...rest,
    ])
    expect(await eventsOf(shelly, status(false))).toEqual([
      ['shellymotionsensor-60A423976594', 'motion', { state: 'NO_MOTION_DETECTED' }],
      ...rest,
    ])
  })

  it('reads of the summary what has no topic of its own, at its time', async () => {
    const at = '2022-08-26T12:36:25.000000Z'
    expect(await eventsOf(shelly, INFO)).toEqual([
      ['shelly1', 'rssi', { value: -59 }, at],
      ['shelly1', 'uptime', { value: 7 }, at],
    ])
  })

  it('converts from Fahrenheit where it was told so', async () => {
    const [event] = await eventsOf(shelly, ['shellies/ht/sensor/temperature', '70.7'], { options: { temperatureUnit: 'F' } })
    expect(event).toEqual(['ht', 'temperature', { value: 21.5, original: { value: 70.7, unit: 'F' } }])
  })
})

describe('shelly, second generation and later', () => {
  it('reads notifications at their time', async () => {
    expect(await eventsOf(shelly, PLUG)).toEqual([
      ['shellyplus1pm-4417939341dc', 'voltage', { value: 232.7 }, '2022-08-26T12:36:25.440000Z'],
    ])
  })

  it('reads each phase as a device', async () => {
    const events = (await eventsOf(shelly, METER)).map(event => (event as unknown[]).slice(0, 3))
    const meter = 'shellypro3em-ec6260890b50'
    expect(events).toEqual([
      [`${meter}:a`, 'current', { value: 3.761 }],
      [`${meter}:a`, 'power', { value: 342.8 }],
      [`${meter}:a`, 'energy', { value: 1075.51308, original: { value: 1_075_513.08, unit: 'Wh' } }],
      [`${meter}:b`, 'power', { value: 957.3 }],
      [`${meter}:c`, 'power', { value: 0.2 }],
      [meter, 'power', { value: 1300.252 }],
      [meter, 'energy', { value: 2852.05581, original: { value: 2_852_055.81, unit: 'Wh' } }],
    ])
  })

  it('reads whole components where there are no notifications', async () => {
    expect(await eventsOf(shelly, SWITCH)).toEqual([
      ['plus1pm', 'switch', { state: 'OFF' }],
      ['plus1pm', 'power', { value: 0 }],
      ['plus1pm', 'voltage', { value: 232.7 }],
      ['plus1pm', 'current', { value: 0 }],
      ['plus1pm', 'energy', { value: 1.5, original: { value: 1500, unit: 'Wh' } }],
      ['plus1pm', 'deviceTemperature', { value: 39.2 }],
    ])
    const memory = memoryOf()
    await eventsOf(shelly, PLUG, { memory })
    expect(await eventsOf(shelly, ['shellyplus1pm-4417939341dc/status/switch:0', '{"id":0,"voltage":1}'], { memory })).toEqual([])
  })

  it('reads sensors that wake up', async () => {
    const sample = rpc('shellyplusht-08b61fcb7f3c', 'NotifyFullStatus', {
      ts: 1.61,
      'devicepower:0': { id: 0, battery: { V: 5.95, percent: 99 }, external: { present: false } },
      'humidity:0': { id: 0, rh: 51.2 },
      'temperature:0': { id: 0, tC: 22.1, tF: 71.8 },
      wifi: { sta_ip: '10.0.0.2', status: 'got ip', ssid: 'x', rssi: -60 },
      cloud: { connected: true },
    })
    const device = 'shellyplusht-08b61fcb7f3c'
    expect(await eventsOf(shelly, sample)).toEqual([
      [device, 'batteryStatus', { percentage: 99 }],
      [device, 'batteryVoltage', { value: 5.95 }],
      [device, 'relativeHumidity', { value: 51.2 }],
      [device, 'humidity', { relativeHumidity: 51.2, temperature: 22.1 }],
      [device, 'temperature', { value: 22.1 }],
      [device, 'rssi', { value: -60 }],
    ])
  })

  it('reads buttons, and Bluetooth devices behind its script', async () => {
    const events = [{ component: 'input:1', id: 1, event: 'single_push', ts: 1_682_952_865 }]
    const pressed = await eventsOf(shelly, rpc('shellyplusi4-a', 'NotifyEvent', { ts: 1_682_952_866, events }))
    expect(pressed).toEqual([['shellyplusi4-a:input1', 'action', { value: 'single' }, '2023-05-01T14:54:25.000000Z']])
    expect((await eventsOf(shelly, BLU)).map(event => (event as unknown[]).slice(0, 3))).toEqual([
      ['bc:02:6e:c3:8f:a8', 'batteryStatus', { percentage: 100 }],
      ['bc:02:6e:c3:8f:a8', 'illuminance', { value: 13 }],
      ['bc:02:6e:c3:8f:a8', 'contact', { state: 'OPEN' }],
      ['bc:02:6e:c3:8f:a8', 'rssi', { value: -58 }],
    ])
  })

  it('counts a press that some Shellys hear once, and nothing of a button at rest', async () => {
    const memory = memoryOf()
    const heard = async (by: string, data: object) => {
      const events = [{ component: 'script:1', event: 'shelly-blu', data: { address: '38:39:8F:71:EE:FF', rssi: -60, ...data } }]
      const all = await eventsOf(shelly, rpc(by, 'NotifyEvent', { ts: 1_682_952_866, events }), { memory })
      return all.map(event => (event as unknown[]).slice(0, 3)).filter(([, type]) => type === 'action')
    }
    const second = ['38:39:8f:71:ee:ff:2', 'action', { value: 'single' }]
    expect(await heard('shellyplus1-a', { pid: 7, button: [0, 1, 0, 0] })).toEqual([second])
    expect(await heard('shellyplus1-b', { pid: 7, button: [0, 1, 0, 0] })).toEqual([])
    expect(await heard('shellyplus1-b', { pid: 8, button: 0 })).toEqual([])
    for (const [pid, button] of [
      [9, 128],
      [10, 254],
    ])
      expect(await heard('shellyplus1-b', { pid, button })).toEqual([['38:39:8f:71:ee:ff', 'action', { value: 'hold' }]])
  })

  it('reads a weather station behind its script', async () => {
    const data = {
      address: 'AA:BB:CC:DD:EE:FF',
      pid: 3,
      model: 'SBWS-90CM',
      'atm. pressure': 1008.8,
      'dew point': 5.5,
      'wind speed': [2.1, 5],
      'wind direction': 180,
      raining: 1,
      precipitation: 0.4,
      'UV index': 3.2,
    }
    const events = await eventsOf(
      shelly,
      rpc('shellyplus1-a', 'NotifyEvent', { ts: 1_682_952_866, events: [{ component: 'script:1', event: 'shelly-blu', data }] }),
    )
    expect(events.map(event => (event as unknown[]).slice(1, 3))).toEqual([
      ['pressure', { pascal: 100_880, original: { value: 1008.8, unit: 'hPa' } }],
      ['dewPoint', { value: 5.5 }],
      ['windSpeed', { value: 2.1 }],
      ['windGust', { value: 5 }],
      ['windDirection', { value: 180 }],
      ['waterPresent', { state: 'PRESENT' }],
      ['precipitation', { value: 0.4 }],
      ['uvIndex', { value: 3.2 }],
    ])
  })

  it('takes no settings for presses', async () => {
    const events = ['config_changed', 'new_objects', 'btn_down', 'double_push'].map(event => ({
      component: 'input:0',
      event,
      ts: 1_682_952_865,
    }))
    const pressed = await eventsOf(shelly, rpc('shellyplusi4-a', 'NotifyEvent', { ts: 1_682_952_866, events }))
    expect(pressed.map(event => (event as unknown[])[2])).toEqual([{ value: 'btn_down' }, { value: 'double' }])
  })

  it('reads thermostats, valves behind a gateway, and wall displays, whose names begin with a capital', async () => {
    const display = rpc('ShellyWallDisplay-AABBCCDDEEFF', 'NotifyStatus', {
      ts: 1_708_507_954,
      'temperature:0': { id: 0, tC: 21.3, tF: 70.4 },
      'thermostat:0': { id: 0, current_C: 21.3, enable: true, output: false, target_C: 21 },
      wifi: { rssi: 0, status: 'disconnected' },
    })
    expect((await eventsOf(shelly, display)).map(event => (event as unknown[]).slice(0, 3))).toEqual([
      ['ShellyWallDisplay-AABBCCDDEEFF', 'temperature', { value: 21.3 }],
      ['ShellyWallDisplay-AABBCCDDEEFF:thermostat0', 'temperature', { value: 21.3 }],
      ['ShellyWallDisplay-AABBCCDDEEFF:thermostat0', 'switch', { state: 'OFF' }],
      ['ShellyWallDisplay-AABBCCDDEEFF:thermostat0', 'state', { target_C: 21 }],
    ])
    expect(shelly.claims?.('ShellyWallDisplay-AABBCCDDEEFF/status/wifi', memoryOf())).toBe(true)
    const gateway = rpc('shellyblugwg3-a', 'NotifyStatus', {
      ts: 1_739_225_228,
      'blutrv:200': { id: 200, battery: 100, current_C: 21, pos: 0, rssi: -74, target_C: 19, errors: [] },
    })
    expect((await eventsOf(shelly, gateway)).map(event => (event as unknown[]).slice(0, 3))).toEqual([
      ['shellyblugwg3-a:blutrv200', 'temperature', { value: 21 }],
      ['shellyblugwg3-a:blutrv200', 'position', { value: 0 }],
      ['shellyblugwg3-a:blutrv200', 'batteryStatus', { percentage: 100 }],
      ['shellyblugwg3-a:blutrv200', 'rssi', { value: -74 }],
      ['shellyblugwg3-a:blutrv200', 'state', { target_C: 19 }],
    ])
  })

  it('takes the thermometer of an energy meter for that of its electronics', async () => {
    const temperature = { 'temperature:0': { id: 0, tC: 46.6, tF: 115.9 } }
    const typeOf = async (id: string) => (await eventsOf(shelly, rpc(id, 'NotifyStatus', { ts: 1_682_952_865, ...temperature })))[0]
    expect(((await typeOf('shellypro3em-ec6260890b50')) as unknown[])[1]).toBe('deviceTemperature')
    expect(((await typeOf('shellyplusht-08b61fcb7f3c')) as unknown[])[1]).toBe('temperature')
  })

  it('claims the other topics of a device by its name, or once it has notified', async () => {
    const memory = memoryOf()
    expect(shelly.claims?.('shellyplus1-a/status/switch:0', memory)).toBe(true)
    expect(shelly.claims?.('kitchen/plug/online', memory)).toBe(false)
    const [, payload] = PLUG
    await eventsOf(shelly, ['kitchen/plug/events/rpc', payload], { memory })
    expect(shelly.claims?.('kitchen/plug/online', memory)).toBe(true)
    expect(await eventsOf(shelly, ['kitchen/plug/online', 'true'], { memory })).toEqual([
      ['kitchen:plug', 'availability', { state: 'ONLINE' }],
    ])
  })

  it.each<Sample>([
    ['other/events/rpc', '{"src":"x","method":"NotifyStatus","params":{}}'],
    ['other/events/rpc', 'hello'],
    ['printer/status/toner', '{"level":1}'],
    ['printer/online', 'true'],
  ])('leaves alone what is of others: %s %s', async (...sample) => expect(await eventsOf(shelly, sample)).toEqual([]))

  it('refuses what is plainly its own and broken', () =>
    expect(decodeShort(shelly, ['shellyplus1-a/events/rpc', '{"src":'])).rejects.toThrow(/^payload: not JSON/))

  it('refuses a number that is none, and takes null for no reading', async () => {
    const status = (fields: object): Sample => ['shellies/plus1pm/status/switch:0', JSON.stringify({ id: 0, output: true, ...fields })]
    const on = ['plus1pm', 'switch', { state: 'ON' }]
    expect(await decodeShort(shelly, status({ voltage: 'err' }))).toEqual({
      events: [on],
      failures: ['voltage: expected a number, got "err"'],
    })
    expect(await decodeShort(shelly, status({ voltage: null, temperature: { tC: null, tF: null } }))).toEqual({
      events: [on],
      failures: [],
    })
    const { failures } = await decodeShort(shelly, ['shellies/plug/temperature', 'err'])
    expect(failures).toEqual(['deviceTemperature: expected a number, got "err"'])
  })

  it('survives damage', () => survives(shelly, SAMPLES))
})
