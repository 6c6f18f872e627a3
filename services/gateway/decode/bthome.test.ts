// BTHome v2, by the examples of its specification and of its reference parser; OpenMQTTGateway as its documentation shows it.
import { describe, expect, it } from 'vitest'
import { bthome } from './bthome.ts'
import { decodeShort, eventsOf, memoryOf, type Sample, survives } from './fixture.ts'

const DEVICE = 'a4:c1:38:8d:18:b2'
const TOPIC = 'home/OpenMQTTGateway/BTtoMQTT/A4C1388D18B2'
const KEYS = { keys: { '54:48:E6:8F:80:A5': '231d39c1d7cc1ab1aee224cd096db932' } }

function sample(servicedata: string, id = 'A4:C1:38:8D:18:B2'): Sample {
  return [TOPIC, JSON.stringify({ id, rssi: -60, servicedatauuid: 'fcd2', servicedata })]
}

const ENCRYPTED = sample('41a47266c95f730011223378237214', '54:48:E6:8F:80:A5')
const THEENGS: Sample = [
  'home/TheengsGateway/BTtoMQTT/A4C138D61D01',
  '{"id":"A4:C1:38:D6:1D:01","name":"ATC_D61D01","rssi":-87,"brand":"Xiaomi","model":"TH Sensor","model_id":"LYWSD03MMC_ATC","type":"THB",' +
    '"tempc":26.3,"tempf":79.34,"hum":57,"batt":86,"volt":2.9}',
]

describe('bthome', () => {
  const rssi = [DEVICE, 'rssi', { value: -60 }]
  it.each<[string, string, unknown[]]>([
    [
      'temperature and humidity',
      '4002ca0903bf13',
      [
        [DEVICE, 'temperature', { value: 25.06 }],
        [DEVICE, 'relativeHumidity', { value: 50.55 }],
        [DEVICE, 'humidity', { relativeHumidity: 50.55, temperature: 25.06 }],
        rssi,
      ],
    ],
    ['pressure', '4004138a01', [[DEVICE, 'pressure', { pascal: 100_883, original: { value: 1008.83, unit: 'hPa' } }], rssi]],
    ['an address of its own', '42b2188d38c1a404138a01', [[DEVICE, 'pressure', expect.anything()], rssi]],
    [
      'a Shelly BLU H&T Display',
      '40002e01641e012e34451601',
      [
        [DEVICE, 'batteryStatus', { percentage: 100 }],
        [DEVICE, 'relativeHumidity', { value: 52 }],
        [DEVICE, 'humidity', { relativeHumidity: 52, temperature: 27.8 }],
        [DEVICE, 'temperature', { value: 27.8 }],
        rssi,
        [DEVICE, 'state', { lightDetected: true }],
      ],
    ],
    ['a negative temperature', '400245ff', [[DEVICE, 'temperature', { value: -1.87 }], rssi]],
    ['an open window', '402d01', [[DEVICE, 'contact', { state: 'OPEN' }], rssi]],
    [
      'two of a kind',
      '400c020c0cfe0b',
      [
        [DEVICE, 'voltage', { value: 3.074 }],
        [`${DEVICE}:2`, 'voltage', { value: 3.07 }],
      ].toSpliced(1, 0, rssi),
    ],
    [
      'motion, and no presence',
      '4021012300',
      [[DEVICE, 'motion', { state: 'MOTION_DETECTED' }], [DEVICE, 'occupancy', { state: 'NOT_OCCUPIED' }], rssi],
    ],
    [
      'wind and its gusts',
      '4044d60044f8015e5046',
      [[DEVICE, 'windSpeed', { value: 2.14 }], [DEVICE, 'windGust', { value: 5.04 }], [DEVICE, 'windDirection', { value: 180 }], rssi],
    ],
    ['a speed', '4044d600', [[DEVICE, 'speed', { value: 2.14 }], rssi]],
    ['a window and a door', '401a002d01', [[DEVICE, 'contact', { state: 'CLOSED' }], rssi, [`${DEVICE}:2`, 'contact', { state: 'OPEN' }]]],
    ['what it knows, until what it does not', '40015dfe5d0903b718', [[DEVICE, 'batteryStatus', { percentage: 93 }], rssi]],
  ])('reads %s', async (_, data, expected) => expect(await eventsOf(bthome, sample(data))).toEqual(expected))

  it('takes the time that a device says', async () => {
    expect(await eventsOf(bthome, sample('4050 5d396164'.replace(' ', '')))).toEqual([
      [DEVICE, 'rssi', { value: -60 }, '2023-05-14T19:41:17.000000Z'],
    ])
  })

  it('counts a press once, though its advertisement is sent several times', async () => {
    const memory = memoryOf()
    const press = (packet: string) => eventsOf(bthome, sample(`4000${packet}3a023a00`), { memory })
    expect(await press('09')).toEqual([[DEVICE, 'action', { value: 'double' }], rssi])
    expect(await press('09')).toEqual([rssi])
    expect(await press('0a')).toHaveLength(2)
    for (const hold of ['80', 'fe'])
      expect((await eventsOf(bthome, sample(`403a${hold}`)))[0]).toEqual([DEVICE, 'action', { value: 'hold' }])
  })

  it('decrypts with the key of the device', async () => {
    const events = await eventsOf(bthome, ENCRYPTED, { options: KEYS })
    expect(events.slice(0, 3)).toEqual([
      ['54:48:e6:8f:80:a5', 'temperature', { value: 25.06 }],
      ['54:48:e6:8f:80:a5', 'relativeHumidity', { value: 50.55 }],
      ['54:48:e6:8f:80:a5', 'humidity', { relativeHumidity: 50.55, temperature: 25.06 }],
    ])
    const [topic, payload] = sample('43a5808fe64854f196c06ffb4900112233f08ecbde')
    expect((await eventsOf(bthome, [topic, payload], { options: KEYS }))[0]).toEqual(['54:48:e6:8f:80:a5', 'temperature', { value: 25.06 }])
  })

  it.each<[string, Sample, RegExp]>([
    ['what it has no key for', ENCRYPTED, /^servicedata: encrypted, and the decoder's option keys has none for 54:48/],
    ['another version', sample('e102000c04'), /^servicedata: expected BTHome version 2, got 7/],
    ['what is no hex', sample('zz'), /^servicedata: expected 2 to 256 bytes in hex/],
    ['an address that is cut off', sample('42b218'), /^servicedata: too short for the address/],
  ])('refuses %s', (_, of, reason) => expect(decodeShort(bthome, of)).rejects.toThrow(reason))

  it('refuses a wrong key', () => {
    const options = { keys: { '5448e68f80a5': '814aac74c4f17b6c1581e1ab87816b99' } }
    return expect(decodeShort(bthome, ENCRYPTED, { options })).rejects.toThrow(
      'servicedata: not encrypted with the key of 54:48:e6:8f:80:a5',
    )
  })

  it('reads what gateways have decoded already', async () => {
    const device = 'a4:c1:38:d6:1d:01'
    expect(await eventsOf(bthome, THEENGS)).toEqual([
      [device, 'temperature', { value: 26.3 }],
      [device, 'relativeHumidity', { value: 57 }],
      [device, 'humidity', { relativeHumidity: 57, temperature: 26.3 }],
      [device, 'batteryStatus', { percentage: 86 }],
      [device, 'batteryVoltage', { value: 2.9 }],
      [device, 'rssi', { value: -87 }],
    ])
  })

  it.each<[string, object, unknown[]]>([
    [
      'a tyre, whose pressure is in bar',
      { model_id: 'TPMS', type: 'TIRE', cidc: false, count: 1, pres: 2.22708, tempc: 31.96, tempf: 89.528, batt: 51, alarm: false },
      [
        ['', 'pressure', { pascal: 222_708, original: { value: 2.22708, unit: 'bar' } }],
        ['', 'temperature', { value: 31.96 }],
        ['', 'batteryStatus', { percentage: 51 }],
        ['', 'problem', { state: 'NOT_DETECTED' }],
        ['', 'state', { count: 1 }],
      ],
    ],
    [
      'air, whose pressure is in hPa',
      { model_id: 'CGP1W', type: 'THBX', pres: 1001.5 },
      [['', 'pressure', { pascal: 100_150, original: { value: 1001.5, unit: 'hPa' } }]],
    ],
    [
      'a blind, whose motor moves',
      { model_id: 'W270160X', type: 'WCVR', acts: true, ctrl: true, open: 30, direction: 'up', motion: false, calibrated: true, batt: 60 },
      [
        ['', 'position', { value: 30 }],
        ['', 'batteryStatus', { percentage: 60 }],
        ['', 'state', { direction: 'up', motion: false, calibrated: true }],
      ],
    ],
    [
      'a grill',
      { model_id: 'IBT-2X(S)', type: 'BBQ', cidc: false, tempc: 28, tempf: 82.4, tempc2: 32, tempf2: 89.6 },
      [
        ['', 'temperature', { value: 28 }],
        [':2', 'temperature', { value: 32 }],
      ],
    ],
    [
      'a scale',
      { model_id: 'XMTZC02HM/XMTZC05HM', type: 'SCALE', weighing_mode: 'person', unit: 'kg', weight: 72.45, impedance: 503 },
      [
        ['', 'mass', { value: 72.45 }],
        ['', 'impedance', { value: 503, unit: 'Ω' }],
        ['', 'state', { weighing_mode: 'person' }],
      ],
    ],
    [
      'a meter of energy',
      { model_id: 'INEM', type: 'ENRG', avg: 2.376, avgu: 'kW', sum: 21.2928, sumu: 'kWh', batt: 70, lowbatt: false },
      [
        ['', 'power', { value: 2376, original: { value: 2.376, unit: 'kW' } }],
        ['', 'energy', { value: 21.2928 }],
        ['', 'batteryStatus', { percentage: 70 }],
        ['', 'batteryLow', { state: 'NORMAL' }],
      ],
    ],
    [
      'a meter of water',
      { model_id: 'INEM', type: 'ENRG', avg: 0.9, avgu: 'm³', sum: 8.07, sumu: 'm³' },
      [
        ['', 'flow', { value: 0.9 }],
        ['', 'volume', { value: 8.07 }],
      ],
    ],
    [
      'a shower',
      { model_id: 'ADHS', type: 'ENRG', session: 36, seconds: 21, litres: 2.6, tempc: 41, tempf: 105.8, energy: 0.12 },
      [
        ['', 'volume', { value: 0.0026, original: { value: 2.6, unit: 'L' } }],
        ['', 'temperature', { value: 41 }],
        ['', 'energy', { value: 0.12 }],
        ['', 'state', { session: 36, seconds: 21 }],
      ],
    ],
    [
      'a tank',
      { model_id: 'M1017', type: 'UNIQ', lvl_cm: 15.4, lvl_in: 6.06, sync: false, quality: 3, accx: 3, accy: 35 },
      [
        ['', 'level', { value: 15.4, unit: 'cm' }],
        ['', 'state', { sync: false, quality: 3, accx: 3, accy: 35 }],
      ],
    ],
    [
      'beer',
      { model_id: 'TILT', type: 'THBX', color: 'red', tempf: 68, tempc: 20, gravity: 1.016, txpower: -59 },
      [
        ['', 'temperature', { value: 20 }],
        ['', 'gravity', { value: 1.016, unit: 'SG' }],
        ['', 'state', { color: 'red' }],
      ],
    ],
    [
      'acceleration',
      { model_id: 'KSensor', type: 'ACEL', track: true, accx: 33, accy: -3, accz: -1006 },
      [['', 'acceleration', { x: 33, y: -3, z: -1006 }]],
    ],
    ['a phone', { model_id: 'APPLEWATCH', type: 'RMAC', track: true, unlocked: true, device: 'Apple Watch' }, []],
  ])('reads what Theengs says of %s', async (_, fields, expected) => {
    const id = 'AA:BB:CC:DD:EE:FF'
    const events = await eventsOf(bthome, [`home/gw/BTtoMQTT/AABBCCDDEEFF`, JSON.stringify({ id, name: 'x', brand: 'y', ...fields })])
    expect(events).toEqual(expected.map(one => [`${id.toLowerCase()}${(one as string[])[0]}`, ...(one as unknown[]).slice(1)]))
  })

  it('counts a press that some gateways relay once, by its packet', async () => {
    const memory = memoryOf()
    const press = (packet: number, press1: number, press2: number) =>
      eventsOf(
        bthome,
        [
          'home/gw/BTtoMQTT/38398F71EEFF',
          JSON.stringify({ id: '38:39:8F:71:EE:FF', model_id: 'SBBT-004CEU/US', type: 'BTN', packet, button1: press1, button2: press2 }),
        ],
        { memory },
      )
    expect(await press(29, 0, 9)).toEqual([['38:39:8f:71:ee:ff:2', 'action', { value: 'long' }]])
    expect(await press(29, 0, 9)).toEqual([])
    expect(await press(30, 2, 0)).toEqual([['38:39:8f:71:ee:ff', 'action', { value: 'double' }]])
  })

  it('decrypts what Theengs has taken apart, with or without the first byte', async () => {
    const whole = '41a47266c95f730011223378237214'
    const apart = {
      id: '54:48:E6:8F:80:A5',
      model_id: 'SBHT-003C_ENCR',
      encr: 2,
      cipher: whole.slice(2, 14),
      ctr: '00112233',
      mic: '78237214',
    }
    const expected = ['54:48:e6:8f:80:a5', 'temperature', { value: 25.06 }]
    const read = (fields: object) => eventsOf(bthome, [TOPIC, JSON.stringify(fields)], { options: KEYS })
    expect((await read(apart))[0]).toEqual(expected)
    expect((await read({ ...apart, servicedata: whole }))[0]).toEqual(expected)
    await expect(read({ ...apart, mic: 'x' })).rejects.toThrow('cipher: expected cipher, ctr and mic in hex')
    await expect(read({ ...apart, mic: '00000000' })).rejects.toThrow('servicedata: not encrypted with the key')
    expect(await read({ ...apart, encr: 1, rssi: -60 })).toEqual([['54:48:e6:8f:80:a5', 'rssi', { value: -60 }]])
  })

  it('reads service data that comes alone, and nothing that has no address', async () => {
    const expected = [[DEVICE, 'contact', { state: 'OPEN' }]]
    expect(await eventsOf(bthome, [`ble/${DEVICE}`, '402d01'])).toEqual(expected)
    expect(await eventsOf(bthome, [`ble/${DEVICE}`, Buffer.from('402d01', 'hex')])).toEqual(expected)
    expect(await eventsOf(bthome, ['home/OpenMQTTGateway/BTtoMQTT/x', '{"count":3}'])).toEqual([])
  })

  it('survives damage', async () => {
    const hex: Sample[] = ['4002ca0903bf13', '40002e01641e012e34451601', '400253056162630a', '4000093a023c0105'].map(data => [
      `ble/${DEVICE}`,
      data,
    ])
    await survives(bthome, [...hex, ENCRYPTED, THEENGS, sample('4002ca0903bf13')], 2000, { options: KEYS })
  })
})
