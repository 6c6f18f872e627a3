// Messages of The Things Stack as its documentation shows them, and what becomes of each.
import { afterAll, describe, expect, it } from 'vitest'
import { decodeShort, eventsOf, type Sample, survives } from './fixture.ts'
import { Sandbox } from './sandbox.ts'
import { SandboxThread } from './sandboxthread.ts'
import { ttnFormat } from './ttn.ts'

/** A thread runs what is built. */
const sandbox = new Sandbox(new SandboxThread(new URL('../../../dist/services/gateway/decode/sandboxthread.js', import.meta.url)))
const format = ttnFormat(sandbox)
afterAll(() => sandbox.close())

const IDS = {
  device_id: 'dev1',
  application_ids: { application_id: 'app1' },
  dev_eui: '0004A30B001C0530',
  join_eui: '800000000000000C',
  dev_addr: '00BCB929',
}
const GATEWAY = {
  gateway_ids: { gateway_id: 'gtw1', eui: '9C5C8E00001A05C4' },
  time: '2020-02-12T15:15:45.787Z',
  timestamp: 2463457000,
  rssi: -35,
  channel_rssi: -35,
  snr: 5,
}
const UPLINK = {
  session_key_id: 'AXA50tHUGUucuzS/bCGMNw==',
  f_cnt: 1,
  frm_payload: 'gkHe',
  decoded_payload: { temperature: 1.0, luminosity: 0.64 },
  rx_metadata: [GATEWAY],
  settings: {
    data_rate: { lora: { bandwidth: 125000, spreading_factor: 7 } },
    coding_rate: '4/6',
    frequency: '868300000',
    time: '2020-02-12T15:15:45.787Z',
  },
  consumed_airtime: '0.056576s',
  received_at: '2020-02-12T15:15:45.789585559Z',
}
const TIME = '2020-02-12T15:15:45.789585Z'
const SIGNAL = [
  'dev1',
  'networkStatus',
  {
    signalStrength: 100,
    rssi: -35,
    snr: 5,
    transmissionMode: 'LOW_POWER_STANDARD_MODE',
    cloudConnectors: [{ id: 'gtw1', signalStrength: 100, rssi: -35 }],
  },
  TIME,
]

function message(uplink: object, ids: object = IDS): Sample {
  const whole = {
    end_device_ids: ids,
    correlation_ids: ['as:up:01E0WZGT6Y7657CPFPE5WEYDSQ'],
    received_at: '2020-02-12T15:15:46.014773143Z',
    uplink_message: { ...UPLINK, ...uplink },
  }
  return ['v3/app1@ttn/devices/dev1/up', JSON.stringify(whole)]
}
const values = async (uplink: object, options = {}) =>
  (await eventsOf(format, message(uplink), { options })).filter(one => (one as unknown[])[1] !== 'networkStatus')
const refusal = async (uplink: object, options = {}) => {
  try {
    return (await decodeShort(format, message(uplink), { options })).failures.join()
  } catch (error) {
    return (error as Error).message
  }
}

describe('an uplink', () => {
  it('that was decoded there is one event for each value, and one for the signal', async () => {
    expect(await eventsOf(format, message({}))).toEqual([
      ['dev1', 'temperature', { value: 1 }, TIME],
      ['dev1', 'luminosity', { value: 0.64 }, TIME],
      SIGNAL,
    ])
  })

  it('of the node of The Things Industries: words stand in its state, and no battery has 3250 %', async () => {
    const uplink = {
      f_port: 4,
      frm_payload: 'DLIEgPeu',
      decoded_payload: { battery: 3250, event: 'setup', light: 1152, temperature: -21.3 },
      normalized_payload: [{ air: { temperature: -21.3 } }],
    }
    expect(await values(uplink)).toEqual([
      ['dev1', 'temperature', { value: -21.3 }, TIME],
      ['dev1', 'batteryVoltage', { value: 3.25, original: { value: 3250, unit: 'mV' } }, TIME],
      ['dev1', 'illuminance', { value: 1152 }, TIME],
      ['dev1', 'state', { event: 'setup' }, TIME],
    ])
  })

  it('that was normalized has the units of its schema, and each measurement its time', async () => {
    const normalized_payload = [
      {
        time: '2022-08-29T13:50:15Z',
        air: { pressure: 1032, relativeHumidity: 43.9, temperature: 21.5 },
        wind: { direction: 321, speed: 5.2 },
      },
      { soil: { moisture: 12, ec: 1 } },
    ]
    expect(await values({ decoded_payload: undefined, normalized_payload })).toEqual([
      ['dev1', 'pressure', { pascal: 103_200, original: { value: 1032, unit: 'hPa' } }, '2022-08-29T13:50:15.000000Z'],
      ['dev1', 'relativeHumidity', { value: 43.9 }, '2022-08-29T13:50:15.000000Z'],
      ['dev1', 'humidity', { relativeHumidity: 43.9, temperature: 21.5 }, '2022-08-29T13:50:15.000000Z'],
      ['dev1', 'temperature', { value: 21.5 }, '2022-08-29T13:50:15.000000Z'],
      ['dev1', 'windDirection', { value: 321 }, '2022-08-29T13:50:15.000000Z'],
      ['dev1', 'windSpeed', { value: 5.2 }, '2022-08-29T13:50:15.000000Z'],
      ['dev1', 'soilMoisture', { value: 12 }, TIME],
      ['dev1', 'conductivity', { value: 1000, original: { value: 1, unit: 'dS/m' } }, TIME],
    ])
  })

  it('that its Cayenne LPP formatter decoded has channels', async () => {
    expect(await values({ decoded_payload: { temperature_1: 21.5, temperature_2: 22, relative_humidity_3: 40 } })).toEqual([
      ['dev1:1', 'temperature', { value: 21.5, channel: '1' }, TIME],
      ['dev1:2', 'temperature', { value: 22, channel: '2' }, TIME],
      ['dev1:3', 'relativeHumidity', { value: 40, channel: '3' }, TIME],
    ])
  })

  it.each<[string, object, [string, object][]]>([
    [
      'Milesight, whose pressure is in hPa and whose distance says no unit',
      { pressure: 1013.255, distance: 1250 },
      [
        ['pressure', { pascal: 101_325.5, original: { value: 1013.255, unit: 'hPa' } }],
        ['distance_raw', { value: 1250 }],
      ],
    ],
    [
      'another one, whose pressure is in kPa',
      { barometer: 101.3 },
      [['pressure', { pascal: 101_300, original: { value: 101.3, unit: 'kPa' } }]],
    ],
    ['one whose pressure is in Pa', { pressure: 101_325 }, [['pressure', { pascal: 101_325 }]]],
    ['one that says its unit', { distance_mm: 1250 }, [['distance', { value: 1.25, original: { value: 1250, unit: 'mm' } }]]],
    [
      'Elsys, which counts motions',
      { motion: 3, occupancy: 0 },
      [
        ['motionCount', { value: 3 }],
        ['occupancy', { state: 'NOT_OCCUPIED' }],
      ],
    ],
    [
      'Elsys, in a quiet hour',
      { motion: 1, occupancy: 0 },
      [
        ['motion', { state: 'MOTION_DETECTED' }],
        ['occupancy', { state: 'NOT_OCCUPIED' }],
      ],
    ],
    [
      'Decentlab, with names for people',
      {
        air_temperature: { displayName: 'Air temperature', unit: '°C', value: 21.5 },
        wind_speed: { displayName: 'Wind speed', unit: 'm⋅s⁻¹', value: 2.5 },
        solar_radiation: { displayName: 'Solar radiation', unit: 'W⋅m⁻²', value: 640 },
        battery_voltage: { displayName: 'Battery voltage', unit: 'V', value: 3.1 },
      },
      [
        ['temperature', { value: 21.5 }],
        ['windSpeed', { value: 2.5 }],
        ['irradiance', { value: 640 }],
        ['batteryVoltage', { value: 3.1 }],
      ],
    ],
  ])('of %s', async (_, decoded_payload, expected) => {
    expect(await values({ decoded_payload })).toEqual(expected.map(([type, fields]) => ['dev1', type, fields, TIME]))
  })

  it('that was normalized has its contact', async () => {
    const normalized_payload = [{ action: { contactState: 'open', motion: { detected: true, count: 4 } } }]
    expect(await values({ decoded_payload: {}, normalized_payload })).toEqual([
      ['dev1', 'contact', { state: 'OPEN' }, TIME],
      ['dev1', 'motion', { state: 'MOTION_DETECTED' }, TIME],
      ['dev1', 'motionCount', { value: 4 }, TIME],
    ])
  })

  it.each([
    [{ battery: 3.6 }, 'batteryVoltage', { value: 3.6 }],
    [{ battery: 96 }, 'batteryStatus', { percentage: 96 }],
    [{ battery: 3 }, 'batteryStatus', { percentage: 3 }],
    [{ battery: '3.60' }, 'batteryVoltage', { value: 3.6, original: { value: '3.60' } }],
    [{ battery_level: '96' }, 'batteryStatus', { percentage: 96, original: { value: '96' } }],
    [{ temp_f: '70.70' }, 'temperature', { value: 21.5, original: { value: '70.70', unit: '°F' } }],
    [{ pressure: '1013.20' }, 'pressure', { pascal: 101_320, original: { value: '1013.20', unit: 'hPa' } }],
    [{ distance: '12.0' }, 'distance_raw', { value: 12 }],
    [{ version: '2.1' }, 'state', { version: '2.1' }],
  ])('has of %j what it can only be', async (decoded_payload, eventType, fields) => {
    expect(await values({ decoded_payload })).toEqual([['dev1', eventType, fields, TIME]])
  })

  it('whose battery was normalized has its volts, as the schema of normalized payloads says, and its motion', async () => {
    expect(await values({ decoded_payload: {}, normalized_payload: [{ battery: 3.3, action: { motion: { detected: true } } }] })).toEqual([
      ['dev1', 'batteryVoltage', { value: 3.3 }, TIME],
      ['dev1', 'motion', { state: 'MOTION_DETECTED' }, TIME],
    ])
  })

  it('of any maker: units behind names, nested values, places, axes, lists', async () => {
    const decoded_payload = {
      temp_f: 70.7,
      battery_v: 3.6,
      air: { humidity_pct: 40 },
      gps: { lat: 1, lng: 2 },
      acc: { x: 0, y: 0, z: 1 },
      level: { value: 3, unit: 'cm' },
      door: true,
      strange: true,
      history: [1, 2],
      nothing: null,
      pm2_5: 3,
    }
    expect(await values({ decoded_payload })).toEqual([
      ['dev1', 'temperature', { value: 21.5, original: { value: 70.7, unit: '°F' } }, TIME],
      ['dev1', 'batteryVoltage', { value: 3.6 }, TIME],
      ['dev1', 'relativeHumidity', { value: 40 }, TIME],
      ['dev1', 'humidity', { relativeHumidity: 40, temperature: 21.5 }, TIME],
      ['dev1', 'level', { value: 3, unit: 'cm' }, TIME],
      ['dev1', 'contact', { state: 'OPEN' }, TIME],
      ['dev1', 'pm25', { value: 3 }, TIME],
      ['dev1', 'location', { latitude: 1, longitude: 2 }, TIME],
      ['dev1', 'acc', { x: 0, y: 0, z: 1 }, TIME],
      ['dev1', 'state', { strange: true, history: [1, 2] }, TIME],
    ])
  })

  it('has what its values are really called', async () => {
    const options = { fields: { battery: { name: 'batteryVoltage', unit: 'V' }, luminosity: { name: 'illuminance' } } }
    expect(await values({ decoded_payload: { battery: 3.6, luminosity: 5 } }, options)).toEqual([
      ['dev1', 'batteryVoltage', { value: 3.6 }, TIME],
      ['dev1', 'illuminance', { value: 5 }, TIME],
    ])
  })

  it('is of the gateway that heard it best, and of a device by the name that was chosen', async () => {
    const far = { gateway_ids: { gateway_id: 'far' }, rssi: -110, snr: -8 }
    const events = await eventsOf(format, message({ rx_metadata: [far, { gateway_ids: { gateway_id: 'mute' } }, GATEWAY] }), {
      options: { device: 'dev_eui' },
    })
    expect((events.at(-1) as unknown[]).slice(0, 3)).toMatchObject([
      '0004A30B001C0530',
      'networkStatus',
      { rssi: -35, snr: 5, cloudConnectors: [{ id: 'gtw1' }, { id: 'far', signalStrength: 25 }] },
    ])
  })

  it('of the network itself has nothing but a signal', async () => {
    expect(await values({ decoded_payload: undefined, f_port: undefined, frm_payload: undefined })).toEqual([])
    expect(await values({ decoded_payload: undefined, f_port: 0 })).toEqual([])
  })
})

describe('bytes that nobody decoded', () => {
  const raw = { decoded_payload: undefined, f_port: 4, frm_payload: 'DLIEgPeu' }
  /** As the documentation of payload formatters has it. */
  const code = `function decodeUplink(input) {
    var data = {};
    var events = { 1: "setup", 2: "interval", 3: "motion", 4: "button" };
    data.event = events[input.fPort];
    data.battery = (input.bytes[0] << 8) + input.bytes[1];
    data.light = (input.bytes[2] << 8) + input.bytes[3];
    data.temperature = (((input.bytes[4] & 0x80 ? input.bytes[4] - 0x100 : input.bytes[4]) << 8) + input.bytes[5]) / 100;
    var warnings = [];
    if (data.temperature < -10) warnings.push("it's cold");
    return { data: data, warnings: warnings };
  }`

  it('are decoded by the code of the maker', async () => {
    expect(await values(raw, { codec: 'javascript', code })).toEqual([
      ['dev1', 'batteryVoltage', { value: 3.25, original: { value: 3250, unit: 'mV' } }, TIME],
      ['dev1', 'illuminance', { value: 1152 }, TIME],
      ['dev1', 'temperature', { value: -21.3 }, TIME],
      ['dev1', 'state', { event: 'button' }, TIME],
    ])
  })

  it('are normalized, too, by what says how', async () => {
    const both = `${code}\nfunction normalizeUplink(input) { return { data: { air: { temperature: input.data.temperature } } } }`
    expect((await values(raw, { codec: 'javascript', code: both }))[0]).toEqual(['dev1', 'temperature', { value: -21.3 }, TIME])
  })

  it('are decoded as Cayenne LPP', async () => {
    expect(await values({ ...raw, frm_payload: Buffer.from('016700D7', 'hex').toString('base64') }, { codec: 'cayenne' })).toEqual([
      ['dev1:1', 'temperature', { value: 21.5, channel: '1' }, TIME],
    ])
  })

  it.each([
    ['without a codec', {}, /^uplink_message\.decoded_payload: missing: the network server did not decode the payload; give it a codec/],
    [
      'by code that refuses them',
      { codec: 'javascript', code: 'function decodeUplink() { return { errors: ["unknown FPort"] } }' },
      /^payload: decodeUplink\(\) refuses it: "unknown FPort"$/,
    ],
    [
      'by code that gives no data',
      { codec: 'javascript', code: 'function decodeUplink() { return { temperature: 5 } }' },
      /^code: decodeUplink\(\) gave \{"temperature":5\}; expected an object as its data$/,
    ],
    [
      'by code that gives nothing',
      { codec: 'javascript', code: 'function decodeUplink() {}' },
      /^code: decodeUplink\(\) gave null; expected \{ data/,
    ],
    [
      'by code that breaks',
      { codec: 'javascript', code: 'function decodeUplink() { return x }' },
      /^code: ReferenceError: 'x' is not defined/,
    ],
    ['as another format', { codec: 'cayenne' }, /^payload: Cayenne LPP: type 178 at byte 1 is unknown/],
  ])('are refused %s', async (_, options, message) => {
    expect(await refusal(raw, options)).toMatch(message)
  })
})

describe('other messages', () => {
  const other = (part: object): Sample => [
    'v3/app1@ttn/devices/dev1/up',
    JSON.stringify({ end_device_ids: IDS, received_at: '2020-02-17T07:49:09.935284891Z', ...part }),
  ]

  it.each([
    { join_accept: { session_key_id: 'AXBSH1Pk6Z0G166RlH16CQ==', received_at: '2020-02-17T07:49:09.736532315Z' } },
    { downlink_ack: { f_port: 15, f_cnt: 1, frm_payload: 'vu8=', confirmed: true, priority: 'NORMAL' } },
    { uplink_normalized: { normalized_payload: { air: { temperature: 10 } } } },
  ])('are none of ours: %j', async part => {
    expect(await eventsOf(format, other(part))).toEqual([])
  })

  it('tell a place', async () => {
    const location = { latitude: 37.97, longitude: 23.72, altitude: 10, source: 'SOURCE_REGISTRY' }
    expect(await eventsOf(format, other({ location_solved: { service: 'x', location } }))).toEqual([
      ['dev1', 'location', { latitude: 37.97, longitude: 23.72, altitude: 10 }, '2020-02-17T07:49:09.935284Z'],
    ])
  })

  it.each([
    ['{}', /^end_device_ids: missing/],
    ['[]', /^payload: expected a JSON object/],
    ['{"end_device_ids":{}}', /^end_device_ids\.device_id: missing/],
    ['no JSON', /^payload: not JSON/],
  ])('are refused where they are of nobody: %s', async (text, message) => {
    await expect(eventsOf(format, ['', text])).rejects.toThrow(message)
  })

  it('are refused for what is wrong in them, by its name', async () => {
    expect(await refusal({ received_at: 'yesterday' })).toMatch(/^uplink_message\.received_at: expected an RFC 3339 time/)
    expect(await refusal({ frm_payload: '###' })).toBe('uplink_message.frm_payload: expected base64')
  })
})

it('values are not left out without a word', async () => {
  const many = Object.fromEntries(Array.from({ length: 257 }, (_, i) => [`v${i}`, i]))
  await expect(eventsOf(format, message({ decoded_payload: many }))).rejects.toThrow('values: at most 256 in one payload')
  const long = { temperature: 1, ['_'.repeat(40_000)]: 2, [`a${'b'.repeat(300)}`]: { c: 1 } }
  const { events, failures } = await decodeShort(format, message({ decoded_payload: long }))
  expect([events.length > 0, failures]).toEqual([
    true,
    [expect.stringMatching(/…: expected a name of at most 256 characters \(and 1 more\)$/)],
  ])
})

it('options are checked when they are saved', async () => {
  await expect(format.check?.({ codec: 'javascript' })).rejects.toThrow(/^options\.code: missing/)
  await expect(format.check?.({ code: 'function decodeUplink() {}' })).rejects.toThrow(/^options\.codec: expected javascript/)
  await expect(format.check?.({ codec: 'javascript', code: 'function decode() {}' })).rejects.toThrow(
    /^options\.code: TypeError: expected a function decodeUplink/,
  )
  await expect(format.check?.({ codec: 'cayenne' })).resolves.toBeUndefined()
})

it('survives whatever comes', async () => {
  await survives(
    format,
    [message({}), message({ normalized_payload: [{ air: { temperature: 1 } }] }), message({ decoded_payload: undefined })],
    3000,
    { options: { codec: 'cayenne' } },
  )
})
