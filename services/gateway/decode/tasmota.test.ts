// Tasmota, by payloads as its documentation shows them.
import { describe, expect, it } from 'vitest'
import { decodeShort, eventsOf, memoryOf, type Sample, survives } from './fixture.ts'
import { tasmota } from './tasmota.ts'

const BME280: Sample = [
  'tele/tasmota/SENSOR',
  '{"Time":"2019-11-03T19:34:28","BME280":{"Temperature":21.7,"Humidity":66.6,"Pressure":988.6},"PressureUnit":"hPa","TempUnit":"C"}',
]
const POW: Sample = [
  'tele/pow1/SENSOR',
  '{"Time":"2018-02-15T17:37:10","ENERGY":{"TotalStartTime":"2018-11-14T18:39:40","Total":6.294,"Yesterday":5.340,"Today":0.954,' +
    '"Period":217,"Power":2635,"ApparentPower":2650,"ReactivePower":282,"Factor":0.99,"Voltage":227,"Current":11.661}}',
]
const PROBES: Sample = [
  'tele/heating/SENSOR',
  '{"Time":"2021-01-02T09:09:44","DS18B20-1":{"Id":"00000566CC39","Temperature":13.3},"DS18B20-2":{"Id":"0000059352D4","Temperature":1.2},"TempUnit":"C"}',
]
const STATE: Sample = [
  'tele/demo-sensor/STATE',
  '{"Time":"2021-06-27T15:03:44+02:00","Uptime":"0T00:00:13","UptimeSec":13,"Heap":28,"SleepMode":"Dynamic","Sleep":50,"LoadAvg":19,' +
    '"MqttCount":1,"POWER":"ON","Wifi":{"AP":1,"SSId":"DEMOAP","BSSId":"XX:XX:XX:XX:XX:XX","Channel":1,"Mode":"11n","RSSI":86,"Signal":-57}}',
]
const SAMPLES = [BME280, POW, PROBES, STATE, ['stat/tasmota/RESULT', '{"Button1":{"Action":"SINGLE"}}'] as Sample]

describe('tasmota', () => {
  it.each<[string, Sample, unknown[]]>([
    [
      'a sensor',
      BME280,
      [
        ['tasmota', 'temperature', { value: 21.7 }],
        ['tasmota', 'relativeHumidity', { value: 66.6 }],
        ['tasmota', 'humidity', { relativeHumidity: 66.6, temperature: 21.7 }],
        ['tasmota', 'pressure', { pascal: 98_860, original: { value: 988.6, unit: 'hPa' } }],
      ],
    ],
    [
      'a plug that measures',
      POW,
      [
        ['pow1', 'energy', { value: 6.294 }],
        ['pow1', 'power', { value: 2635 }],
        ['pow1', 'apparentPower', { value: 2650 }],
        ['pow1', 'reactivePower', { value: 282 }],
        ['pow1', 'powerFactor', { value: 0.99 }],
        ['pow1', 'voltage', { value: 227 }],
        ['pow1', 'current', { value: 11.661 }],
        ['pow1', 'state', { ENERGY: { Yesterday: 5.34, Today: 0.954, Period: 217 } }],
      ],
    ],
    [
      'probes, each a device',
      PROBES,
      [
        ['heating:00000566CC39', 'temperature', { value: 13.3 }],
        ['heating:0000059352D4', 'temperature', { value: 1.2 }],
      ],
    ],
    [
      'phases',
      ['tele/m/SENSOR', '{"Time":"2021-01-02T09:09:44","ENERGY":{"Power":[3,4],"Voltage":230}}'],
      [
        ['m:1', 'power', { value: 3 }],
        ['m:2', 'power', { value: 4 }],
        ['m', 'voltage', { value: 230 }],
      ],
    ],
    [
      'Fahrenheit, behind a topic of its own',
      ['home/attic/tele/SENSOR', '{"AM2301":{"Temperature":75.9,"Humidity":null},"TempUnit":"F"}'],
      [['home:attic', 'temperature', { value: 24.388888889, original: { value: 75.9, unit: 'F' } }]],
    ],
    [
      'two sensors of a kind, and the chip itself',
      [
        'tele/t/SENSOR',
        '{"SHT3X":{"Temperature":1},"SCD40":{"CarbonDioxide":700,"Temperature":2},"ESP32":{"Temperature":36.1},"TempUnit":"C"}',
      ],
      [
        ['t', 'temperature', { value: 1 }],
        ['t', 'deviceTemperature', { value: 36.1 }],
        ['t:SCD40', 'co2', { ppm: 700 }],
        ['t:SCD40', 'temperature', { value: 2 }],
      ],
    ],
    [
      'what its converter measures, by the number of the input',
      [
        'tele/a/SENSOR',
        '{"ANALOG":{"Temperature1":23.4,"Temperature2":24,"Illuminance3":8,"CTEnergy4":{"Energy":0.5,"Power":230,"Voltage":230,"Current":1},"A0":1024}}',
      ],
      [
        ['a:analog1', 'temperature', { value: 23.4 }],
        ['a:analog2', 'temperature', { value: 24 }],
        ['a:analog3', 'illuminance', { value: 8 }],
        ['a:analog4', 'energy', { value: 0.5 }],
        ['a:analog4', 'power', { value: 230 }],
        ['a:analog4', 'voltage', { value: 230 }],
        ['a:analog4', 'current', { value: 1 }],
        ['a', 'state', { ANALOG: { A0: 1024 } }],
      ],
    ],
    [
      'lightning, whose energy is none',
      ['tele/a/SENSOR', '{"Time":"2020-01-01T17:07:07","AS3935":{"Event":4,"Distance":12,"Energy":58622,"Stage":1}}'],
      [
        ['a', 'distance', { value: 12_000, original: { value: 12, unit: 'km' } }],
        ['a', 'state', { AS3935: { Event: 4, Energy: 58_622, Stage: 1 } }],
      ],
    ],
    [
      'switches',
      ['tele/demo/SENSOR', '{"Time":"2021-06-27T15:03:44","Switch1":"OFF","Switch2":"ON"}'],
      [
        ['demo:switch1', 'switch', { state: 'OFF' }],
        ['demo:switch2', 'switch', { state: 'ON' }],
      ],
    ],
    [
      'a Zigbee bridge',
      ['tele/bridge/SENSOR', '{"ZbReceived":{"0xF75D":{"Device":"0xF75D","Name":"Plug","Power":true,"Endpoint":3,"LinkQuality":36}}}'],
      [
        ['bridge:Plug', 'switch', { state: 'ON' }],
        ['bridge:Plug', 'linkQuality', { value: 36 }],
        ['bridge:Plug', 'state', { Endpoint: 3 }],
      ],
    ],
    ['a relay', ['stat/tasmota/POWER', 'ON'], [['tasmota', 'switch', { state: 'ON' }]]],
    ['one relay of some', ['stat/tasmota/POWER2', 'OFF'], [['tasmota:2', 'switch', { state: 'OFF' }]]],
    ['a button', SAMPLES[4] as Sample, [['tasmota:button1', 'action', { value: 'single' }]]],
    [
      'a state that was asked for',
      ['stat/pow1/STATUS8', '{"StatusSNS":{"Time":"2018-11-15T08:54:18","ENERGY":{"Power":2629}}}'],
      [['pow1', 'power', { value: 2629 }]],
    ],
    ['a will', ['tele/demo-sensor/LWT', 'Offline'], [['demo-sensor', 'availability', { state: 'OFFLINE' }]]],
    ['no more of a relay that says so twice', ['stat/tasmota/RESULT', '{"POWER":"ON"}'], []],
    ['no settings', ['tele/wemos2/INFO1', '{"Module":"Generic"}'], []],
    ['no commands', ['cmnd/tasmota/POWER', 'ON'], []],
    ['nothing of others', ['tele/metry/weather', 'x'], []],
    ['nothing of others that is text', ['tele/x/SENSOR', '21.5'], []],
    ['nothing of nobody', ['tele/SENSOR', '{"Time":"2018-02-15T17:37:10"}'], []],
  ])('reads %s', async (_, sample, expected) => expect(await eventsOf(tasmota, sample)).toEqual(expected))

  it('reads the state of a device, at its time where it says the zone', async () => {
    const events = await eventsOf(tasmota, STATE)
    const at = '2021-06-27T13:03:44.000000Z'
    expect(events.slice(0, 3)).toEqual([
      ['demo-sensor', 'uptime', { value: 13 }, at],
      ['demo-sensor', 'switch', { state: 'ON' }, at],
      ['demo-sensor', 'rssi', { value: -57 }, at],
    ])
    expect(events[3]).toMatchObject(['demo-sensor', 'state', { Heap: 28, Wifi: { Quality: 86, SSId: 'DEMOAP' } }, at])
  })

  it.each<[string, string]>([
    ['says null', '{"AM2301":{"Temperature":null,"Humidity":null},"BMP280":{"Temperature":22,"Pressure":1000},"TempUnit":"C"}'],
    ['is missing', '{"BMP280":{"Temperature":22,"Pressure":1000},"TempUnit":"C"}'],
  ])('leaves a sensor in its series while another one %s', async (_, payload) => {
    const memory = memoryOf()
    const both = '{"AM2301":{"Temperature":21,"Humidity":40},"BMP280":{"Temperature":22,"Pressure":1000},"TempUnit":"C"}'
    expect((await eventsOf(tasmota, ['tele/x/SENSOR', both], { memory })).at(-2)).toEqual(['x:BMP280', 'temperature', { value: 22 }])
    expect(await eventsOf(tasmota, ['tele/x/SENSOR', payload], { memory })).toEqual([
      ['x:BMP280', 'temperature', { value: 22 }],
      ['x:BMP280', 'pressure', { pascal: 100_000, original: { value: 1000, unit: 'hPa' } }],
    ])
  })

  it('takes a sensor for the device that has replaced its first one, and not while that one is there', async () => {
    const memory = memoryOf()
    const [si, bme] = ['"SI7021":{"Temperature":21}', '"BME280":{"Temperature":22}']
    const send = async (...blocks: readonly string[]) =>
      (await eventsOf(tasmota, ['tele/x/SENSOR', `{${[...blocks, '"TempUnit":"C"'].join()}}`], { memory })).map(
        event => (event as unknown[])[0],
      )
    expect(await send(si, bme)).toEqual(['x', 'x:BME280'])
    for (let i = 0; i < 4; i++) expect(await send(bme)).toEqual(['x:BME280'])
    expect(await send('"SI7021":{"Temperature":null}', bme)).toEqual(['x:BME280'])
    for (let i = 0; i < 4; i++) expect([await send('"Switch1":"ON"'), await send(bme)]).toEqual([['x:switch1'], ['x:BME280']])
    for (let i = 0; i < 3; i++) expect(await send(bme)).toEqual(['x'])
    expect(memory.size()).toBeLessThanOrEqual(1)
    expect(await send(si, bme)).toEqual(['x:SI7021', 'x'])
  })

  it('leaves nothing behind where one sensor measures each quantity, and refuses nothing where there is no room', async () => {
    const memory = memoryOf()
    await eventsOf(tasmota, BME280, { memory })
    expect(memory.size()).toBe(0)
    for (let i = 0; i < 10_000; i++) memory.set(`k${i}`, 1)
    const both = '{"SI7021":{"Temperature":21},"BME280":{"Temperature":22},"TempUnit":"C"}'
    expect((await eventsOf(tasmota, ['tele/x/SENSOR', both], { memory })).map(event => (event as unknown[])[0])).toEqual(['x', 'x:BME280'])
    expect(memory.size()).toBe(10_000)
  })

  it('writes nothing for sensors that it knows', async () => {
    const memory = memoryOf()
    await eventsOf(tasmota, BME280, { memory })
    let writes = 0
    await eventsOf(tasmota, BME280, { memory: { ...memory, set: () => void writes++ } })
    expect(writes).toBe(0)
  })

  it.each<[string, string, string[]]>([
    ['local', '{"Time":"2019-11-03T19:34:28","Vcc":3}', ['2019-11-03T18:34:28.000000Z']],
    ['as old versions wrote it', '{"Time":"2018.02.01 22:52:09","Vcc":3}', ['2018-02-01T21:52:09.000000Z']],
    ['as an epoch', '{"Time":"2019-09-04T13:08:48","Epoch":1567595328,"Vcc":3}', ['2019-09-04T11:08:48.000000Z']],
  ])('takes the time, %s, with the offset it was told', async (_, payload, expected) => {
    const [event] = await eventsOf(tasmota, ['tele/a/STATE', payload], { options: { utcOffsetMinutes: 60 } })
    expect((event as unknown[]).slice(3)).toEqual(expected)
  })

  it('refuses what is plainly its own and broken', async () => {
    await expect(decodeShort(tasmota, ['tele/a/SENSOR', '{"Time":'])).rejects.toThrow(/^payload: not JSON/)
    const { failures } = await decodeShort(tasmota, ['tele/a/SENSOR', '{"AM2301":{"Temperature":1e999}}'])
    expect(failures).toEqual(['data.temperature.value: expected a finite number'])
    // A sensor that does not answer is null there.
    const wrong = await decodeShort(tasmota, ['tele/a/SENSOR', '{"AM2301":{"Temperature":"err","Humidity":null,"DewPoint":4}}'])
    expect(wrong.events).toEqual([['a', 'dewPoint', { value: 4 }]])
    expect(wrong.failures).toEqual(['Temperature: expected a number, got "err"'])
  })

  it('survives damage', () => survives(tasmota, SAMPLES))
})

it('a payload of many wrong devices is refused once', async () => {
  const devices = Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`0x${i} \u0000`, { Power: 1 }]))
  const { failures } = await decodeShort(tasmota, ['tele/bridge/SENSOR', JSON.stringify({ ZbReceived: devices })])
  expect(failures).toEqual([expect.stringContaining('(and 999 more)')])
})

it('what is no text is left alone where it is none of ours', async () => {
  const image = Buffer.from('ffd8ffe000104a464946', 'hex')
  expect(await decodeShort(tasmota, ['tele/camera/image', image])).toEqual({ events: [], failures: [] })
  await expect(decodeShort(tasmota, ['tele/attic/SENSOR', image])).rejects.toThrow('not UTF-8')
})
