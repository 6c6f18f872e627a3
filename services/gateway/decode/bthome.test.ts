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
