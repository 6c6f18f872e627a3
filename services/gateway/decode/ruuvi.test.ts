// Ruuvi Gateway and sensors, by the examples and test vectors of docs.ruuvi.com.
import { describe, expect, it } from 'vitest'
import { decodeShort, eventsOf, type Sample, survives } from './fixture.ts'
import { ruuvi } from './ruuvi.ts'

const TAG = 'c6:a5:b9:e0:ad:06'
const TOPIC = 'ruuvi/C8:25:2D:8E:9C:2C/C6:A5:B9:E0:AD:06'

/** As an advertisement: flags, then manufacturer data of Ruuvi. */
function advertised(data: string): Sample {
  const manufacturer = `FF9904${data}`
  const length = (manufacturer.length / 2).toString(16).padStart(2, '0')
  return [TOPIC, JSON.stringify({ gw_mac: 'C8:25:2D:8E:9C:2C', data: `020106${length}${manufacturer}` })]
}

const MQTT: Sample = [
  'ruuvi/C8:25:2D:8E:9C:2C/F4:1F:0C:28:CB:D6',
  '{"gw_mac":"C8:25:2D:8E:9C:2C","rssi":-26,"aoa":[],"gwts":"1653668027","ts":"1653668027",' +
    '"data":"0201061BFF99040515AE4C6DC6D7000CFFF803F4ADB6AD697FF41F0C28CBD6","coords":""}',
]
const HTTP: Sample = [
  '',
  JSON.stringify({
    data: {
      coordinates: '',
      timestamp: '1653633988',
      nonce: '2636366621',
      gw_mac: 'C8:25:2D:8E:9C:2C',
      tags: {
        'C6:A5:B9:E0:AD:06': { rssi: -71, timestamp: '1653633986', data: '0201061BFF99040513C85714C7CC00240008041CAB76F41C3CC6A5B9E0AD06' },
        'E3:75:CF:37:4E:23': { rssi: -72, timestamp: '1653633986', data: 'zz' },
      },
    },
  }),
]
const DECODED: Sample = [
  'ruuvi/CC:F1:A2:8E:F8:8A/E6:DC:F8:EC:78:3B',
  '{"gw_mac":"CC:F1:A2:8E:F8:8A","rssi":-50,"gwts":1783799395,"ts":1783799394,"data":"2BFF9904E1...","dataFormat":225,"temperature":23.565,' +
    '"humidity":54.90,"pressure":100319,"PM1.0":0.8,"PM2.5":1.5,"CO2":499,"VOC":130,"NOx":1,"id":"E6:DC:F8:EC:78:3B","coords":""}',
]
const AIR = advertised('E1170C5668C79E0065007004BD11CA00C90A0213E0ACFFFFFFDECDEE01FFFFFFFFFFCBB8334C884F')

async function short(sample: Sample) {
  return (await eventsOf(ruuvi, sample)).map(event => (event as unknown[]).slice(1, 3))
}

describe('ruuvi', () => {
  it('reads data format 5', async () => {
    expect(await short(advertised('0512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F'))).toEqual([
      ['temperature', { value: 24.3 }],
      ['relativeHumidity', { value: 53.49 }],
      ['humidity', { relativeHumidity: 53.49, temperature: 24.3 }],
      ['pressure', { pascal: 100_044 }],
      ['batteryVoltage', { value: 2.977 }],
      ['acceleration', { x: 0.004, y: -0.004, z: 1.036, unit: 'gₙ' }],
      ['state', { txPower: 4, movementCounter: 66, measurementSequence: 205 }],
    ])
  })

  it('reads data format 3', async () => {
    expect(await short(advertised('03291A1ECE1EFC18F94202CA0B53'))).toEqual([
      ['temperature', { value: 26.3 }],
      ['relativeHumidity', { value: 20.5 }],
      ['humidity', { relativeHumidity: 20.5, temperature: 26.3 }],
      ['pressure', { pascal: 102_766 }],
      ['batteryVoltage', { value: 2.899 }],
      ['acceleration', { x: -1, y: -1.726, z: 0.714, unit: 'gₙ' }],
    ])
  })

  it('reads data format E1', async () => {
    expect(await short(AIR)).toEqual([
      ['temperature', { value: 29.5 }],
      ['relativeHumidity', { value: 55.3 }],
      ['humidity', { relativeHumidity: 55.3, temperature: 29.5 }],
      ['pressure', { pascal: 101_102 }],
      ['pm1', { value: 10.1 }],
      ['pm25', { value: 11.2 }],
      ['pm4', { value: 121.3 }],
      ['pm10', { value: 455.4 }],
      ['co2', { ppm: 201 }],
      ['vocIndex', { value: 20 }],
      ['noxIndex', { value: 4 }],
      ['illuminance', { value: 13_027 }],
      ['state', { measurementSequence: 14_601_710 }],
    ])
  })

  it('reads data format 6', async () => {
    expect(await short(advertised('06170C5668C79E007000C90501D9FFCD004C884F'))).toEqual([
      ['temperature', { value: 29.5 }],
      ['relativeHumidity', { value: 55.3 }],
      ['humidity', { relativeHumidity: 55.3, temperature: 29.5 }],
      ['pressure', { pascal: 101_102 }],
      ['pm25', { value: 11.2 }],
      ['co2', { ppm: 201 }],
      ['vocIndex', { value: 10 }],
      ['noxIndex', { value: 2 }],
      ['illuminance', { value: 13_026.67 }],
    ])
  })

  it('leaves out what a sensor does not have', async () => {
    expect(await eventsOf(ruuvi, advertised('058000FFFFFFFF800080008000FFFFFFFFFFFFFFFFFFFFFF'))).toEqual([])
  })

  it('takes the time when the gateway heard it', async () => {
    const events = await eventsOf(ruuvi, MQTT)
    expect(events[0]).toEqual(['f4:1f:0c:28:cb:d6', 'temperature', { value: 27.75 }, '2022-05-27T16:13:47.000000Z'])
    expect(events).toContainEqual(['f4:1f:0c:28:cb:d6', 'rssi', { value: -26 }, '2022-05-27T16:13:47.000000Z'])
  })

  it('reads the dozens of an HTTP request, of which a bad one harms no other', async () => {
    const { events, failures } = await decodeShort(ruuvi, HTTP)
    expect(events[0]).toEqual([TAG, 'temperature', { value: 25.32 }, '2022-05-27T06:46:26.000000Z'])
    expect(failures).toEqual(['data: expected an advertisement in hex'])
  })

  it('reads what a gateway has decoded already', async () => {
    expect(await short(DECODED)).toEqual([
      ['temperature', { value: 23.565 }],
      ['relativeHumidity', { value: 54.9 }],
      ['humidity', { relativeHumidity: 54.9, temperature: 23.565 }],
      ['pressure', { pascal: 100_319 }],
      ['pm1', { value: 0.8 }],
      ['pm25', { value: 1.5 }],
      ['co2', { ppm: 499 }],
      ['vocIndex', { value: 130 }],
      ['noxIndex', { value: 1 }],
      ['rssi', { value: -50 }],
    ])
  })

  it('says the same of a sensor that its gateway has decoded as of its advertisement', async () => {
    const tag = {
      rssi: -46,
      timestamp: '1687922292',
      data: '0201061BFF99040515EF481EC6630038001003F08376502051F4C6462C3EB4',
    }
    const decoded = {
      dataFormat: 5,
      temperature: 28.075,
      humidity: 46.155,
      pressure: 100_787,
      accelX: 0.056,
      accelY: 0.016,
      accelZ: 1.008,
      movementCounter: 80,
      voltage: 2.651,
      txPower: 4,
      measurementSequenceNumber: 8273,
      id: 'F4:C6:46:2C:3E:B4',
    }
    const read = async (fields: object) => {
      const events = await short(['', JSON.stringify({ data: { gw_mac: 'C8:25:2D:8E:9C:2C', tags: { 'F4:C6:46:2C:3E:B4': fields } } })])
      return events.map(event => JSON.stringify(event)).toSorted()
    }
    const whole = await read({ ...tag, ...decoded, data: '2BFF9904E1...' })
    expect(whole).toContain('["acceleration",{"x":0.056,"y":0.016,"z":1.008,"unit":"gₙ"}]')
    expect(whole.map(one => one.split(',')[0])).toEqual((await read(tag)).map(one => one.split(',')[0]))
    expect(whole.find(one => one.startsWith('["state"'))).toBe('["state",{"movementCounter":80,"txPower":4,"measurementSequence":8273}]')
  })

  it('reads BTHome on the way, and nothing of other advertisements', async () => {
    const payload = (data: string) => JSON.stringify({ gw_mac: 'x', rssi: -60, data })
    expect(await short([TOPIC, payload('0201060616d2fc402d01')])).toEqual([
      ['contact', { state: 'OPEN' }],
      ['rssi', { value: -60 }],
    ])
    expect(await eventsOf(ruuvi, [TOPIC, payload('0201060303aafe')])).toEqual([])
    expect(await eventsOf(ruuvi, ['ruuvi/C8:25:2D:8E:9C:2C/gw_status', '{"state":"online"}'])).toEqual([])
    expect(await eventsOf(ruuvi, ['ruuvi/a/b', 'hello'])).toEqual([])
  })

  it('survives damage', () => survives(ruuvi, [MQTT, HTTP, DECODED, AIR]))
})
