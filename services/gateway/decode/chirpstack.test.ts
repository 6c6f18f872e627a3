// Events of ChirpStack v4 as its documentation shows them, and what becomes of each.
import { afterAll, describe, expect, it } from 'vitest'
import { chirpstackFormat } from './chirpstack.ts'
import { eventsOf, type Sample, survives } from './fixture.ts'
import { Sandbox } from './sandbox.ts'
import { SandboxThread } from './sandboxthread.ts'

/** A thread runs what is built. */
const sandbox = new Sandbox(new SandboxThread(new URL('../../../dist/services/gateway/decode/sandboxthread.js', import.meta.url)))
const format = chirpstackFormat(sandbox)
afterAll(() => sandbox.close())

const DEVICE = {
  tenantId: '52f14cd4-c6f1-4fbd-8f87-4025e1d49242',
  tenantName: 'ChirpStack',
  applicationId: '17c82e96-be03-4f38-aef3-f83d48582d97',
  applicationName: 'Test application',
  deviceProfileId: '14855bf7-d10d-4aee-b618-ebfcb64dc7ad',
  deviceProfileName: 'Test device-profile',
  deviceName: 'Test device',
  devEui: '0101010101010101',
  tags: { key: 'value' },
}
const UP = {
  deduplicationId: '3ac7e3c4-4401-4b8d-9386-a5c902f9202d',
  time: '2022-07-18T09:34:15.775023242+00:00',
  deviceInfo: DEVICE,
  devAddr: '00189440',
  dr: 1,
  fPort: 1,
  data: 'qg==',
  rxInfo: [
    { gatewayId: '0016c001f153a14c', uplinkId: 4217106255, rssi: -36, snr: 10.5, context: 'E3OWOQ==', metadata: { region_name: 'eu868' } },
  ],
  txInfo: { frequency: 867100000, modulation: { lora: { bandwidth: 125000, spreadingFactor: 11, codeRate: 'CR_4_5' } } },
}
const STATUS = {
  deduplicationId: 'bf2a9746-1c8b-49be-a92e-f0b89c8534e4',
  time: '2022-07-18T09:35:06.927172638+00:00',
  deviceInfo: DEVICE,
  margin: 10,
  batteryLevel: 88.3,
}
const DEV = '0101010101010101'
const TIME = '2022-07-18T09:34:15.775023Z'

const sample = (event: object, kind = 'up'): Sample => [
  `application/17c82e96-be03-4f38-aef3-f83d48582d97/device/${DEV}/event/${kind}`,
  JSON.stringify(event),
]
const overHttp = (event: object): Sample => ['', JSON.stringify(event)]

describe('an uplink', () => {
  it('that its codec decoded is one event for each value, and one for the signal', async () => {
    expect(await eventsOf(format, sample({ ...UP, object: { temperature: 22.5, humidity: 40 } }))).toEqual([
      [DEV, 'temperature', { value: 22.5 }, TIME],
      [DEV, 'relativeHumidity', { value: 40 }, TIME],
      [DEV, 'humidity', { relativeHumidity: 40, temperature: 22.5 }, TIME],
      [
        DEV,
        'networkStatus',
        {
          signalStrength: 100,
          rssi: -36,
          snr: 10.5,
          transmissionMode: 'LOW_POWER_STANDARD_MODE',
          cloudConnectors: [{ id: '0016c001f153a14c', signalStrength: 100, rssi: -36 }],
        },
        TIME,
      ],
    ])
  })

  it('that its Cayenne LPP codec decoded has channels', async () => {
    const object = { temperatureSensor: { 3: 27.2, 5: 25.5 }, gpsLocation: { 1: { latitude: 42.3519, longitude: -87.9094, altitude: 10 } } }
    expect((await eventsOf(format, sample({ ...UP, object }))).slice(1)).toEqual([
      [`${DEV}:3`, 'temperature', { value: 27.2, channel: '3' }, TIME],
      [`${DEV}:5`, 'temperature', { value: 25.5, channel: '5' }, TIME],
      [`${DEV}:1`, 'location', { latitude: 42.3519, longitude: -87.9094, altitude: 10, channel: '1' }, TIME],
    ])
  })

  it('is decoded by code that was written for ChirpStack, new or old', async () => {
    const now =
      'function decodeUplink(input) { return { data: { temp: input.bytes[0] / 10, port: input.fPort, year: input.recvTime.getFullYear() } } }'
    const before = 'function Decode(fPort, bytes, variables) { return { temp: bytes[0] / 10, port: fPort, year: 2022 } }'
    for (const code of [now, before]) {
      expect((await eventsOf(format, sample(UP), { options: { codec: 'javascript', code } })).slice(0, 3)).toEqual([
        [DEV, 'temperature', { value: 17 }, TIME],
        [DEV, 'port', { value: 1 }, TIME],
        [DEV, 'year', { value: 2022 }, TIME],
      ])
    }
  })

  it('is the same over HTTP, and of a device by the name that was chosen', async () => {
    const [first] = await eventsOf(format, overHttp({ ...UP, object: { temperature: 22.5 } }), { options: { device: 'deviceName' } })
    expect(first).toEqual(['Test device', 'temperature', { value: 22.5 }, TIME])
  })

  it('is refused where nobody decoded it', async () => {
    await expect(eventsOf(format, sample(UP))).rejects.toThrow(
      /^object: missing: the network server did not decode the payload; give it a codec/,
    )
  })
})

describe('another event', () => {
  it.each([[sample(STATUS, 'status')], [overHttp(STATUS)]])('tells the battery: %#', async status => {
    expect(await eventsOf(format, status)).toEqual([
      [DEV, 'batteryStatus', { percentage: 88.3 }, '2022-07-18T09:35:06.927172Z'],
      [DEV, 'linkMargin', { value: 10, unit: 'dB' }, '2022-07-18T09:35:06.927172Z'],
    ])
  })

  it('tells no battery of a device without one', async () => {
    expect(await eventsOf(format, sample({ ...STATUS, batteryLevel: 0, margin: undefined, externalPowerSource: true }, 'status'))).toEqual(
      [],
    )
  })

  it('tells a place', async () => {
    const event = {
      deduplicationId: 'x',
      time: '2022-07-18T09:55:11.481003+00:00',
      deviceInfo: DEVICE,
      location: { latitude: 37.344214, longitude: -8.839375, altitude: 2 },
    }
    for (const one of [sample(event, 'location'), overHttp(event)])
      expect(await eventsOf(format, one)).toEqual([
        [DEV, 'location', { latitude: 37.344214, longitude: -8.839375, altitude: 2 }, '2022-07-18T09:55:11.481003Z'],
      ])
  })

  it.each([
    ['join', { devAddr: '00189440' }],
    ['ack', { queueItemId: '1bbcab1d-6ec6-4136-b3f5-d63be1dc08de', acknowledged: true, fCntDown: 3 }],
    ['txack', { downlinkId: 3461958127, fCntDown: 2, gatewayId: '0016c001f153a14c' }],
    ['log', { level: 'ERROR', code: 'UPLINK_MIC', description: 'MIC of join-request is invalid' }],
  ])('%s is none of ours', async (kind, part) => {
    const event = { time: '2022-07-18T09:33:28.823500726+00:00', deviceInfo: DEVICE, ...part }
    expect([await eventsOf(format, sample(event, kind)), await eventsOf(format, overHttp(event))]).toEqual([[], []])
  })

  it('of nobody is refused', async () => {
    await expect(eventsOf(format, sample({}))).rejects.toThrow(/^deviceInfo: missing: expected an event of ChirpStack v4/)
    await expect(eventsOf(format, sample({ deviceInfo: {} }))).rejects.toThrow(/^deviceInfo\.devEui: missing/)
    await expect(eventsOf(format, sample({ ...UP, time: 5e30 }))).rejects.toThrow(/^time: expected an RFC 3339 time/)
  })
})

it('survives whatever comes', async () => {
  const up = sample({ ...UP, object: { temperature: 22.5, battery: 90, gps: { latitude: 1, longitude: 2 } } })
  await survives(format, [up, sample(STATUS, 'status'), sample(UP)], 3000, { options: { codec: 'cayenne' } })
})
