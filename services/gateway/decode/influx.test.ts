// InfluxDB's line protocol: every spelling of its specification, what is refused, and what hostile names become (hazard 28).
import { describe, expect, it } from 'vitest'
import type { Decoded } from './event.ts'
import { NO_MEMORY } from './fixture.ts'
import { influx } from './influx.ts'
import { influxLines } from './influxline.ts'
import { parsePoint } from './influxpoint.ts'

const ARRIVAL_US = 1_772_433_669_104_000
const clock = { nowUs: () => ARRIVAL_US, newId: () => 'cr1tq0gd2kq0f5m3n780' }

async function decode(text: string | Buffer, options: Record<string, unknown> = {}): Promise<readonly Decoded[]> {
  const output = await influx.decode({ bytes: Buffer.from(text), topic: [], place: { project: 'p' }, options, memory: NO_MEMORY }, clock)
  return output.decoded
}

type Event = { targetName: string; eventType: string; data: Record<string, Record<string, unknown>>; timestamp: string; eventId: string }

async function eventOf(text: string, options?: Record<string, unknown>): Promise<Event> {
  const [one, ...others] = await decode(text, options)
  expect(others).toEqual([])
  if (!one || 'failure' in one) throw one?.failure ?? new Error('nothing decoded')
  return JSON.parse(one.event.frame) as Event
}

async function failureOf(text: string | Buffer): Promise<{ field: string | undefined; message: string }> {
  const [one] = await decode(text)
  if (!one || !('failure' in one)) throw new Error('nothing was refused')
  return { field: one.failure.field, message: one.failure.message }
}

describe('a line', () => {
  const values: [text: string, value: unknown][] = [
    ['1', 1],
    ['-1.5', -1.5],
    ['+2', 2],
    ['.5', 0.5],
    ['1.', 1],
    ['1e3', 1000],
    ['-1.234456e+78', -1.234456e78],
    ['18446744073709552000', 18446744073709552000],
    ['1i', 1],
    ['-9007199254740991i', -9007199254740991],
    ['7u', 7],
    ['t', true],
    ['T', true],
    ['true', true],
    ['True', true],
    ['TRUE', true],
    ['f', false],
    ['F', false],
    ['false', false],
    ['False', false],
    ['FALSE', false],
    ['"text"', 'text'],
    ['""', ''],
    ['"a \\"quoted\\" word, and = more"', 'a "quoted" word, and = more'],
    ['"C:\\\\dir\\\\"', 'C:\\dir\\'],
    ['"back\\slash"', 'back\\slash'],
    ['"two\nlines"', 'two\nlines'],
    ['"°C 🌡"', '°C 🌡'],
  ]
  it.each(values)('has the value %s', (text, value) => {
    expect(parsePoint(`m f=${text},g=1i 5`)).toMatchObject({
      fields: new Map([
        ['f', value],
        ['g', 1],
      ]),
      time: '5',
    })
  })

  const names: [line: string, measurement: string, tags: Record<string, string>, fields: Record<string, unknown>][] = [
    [
      'weather,location=us-midwest,season=summer temperature=82 1465839830100400200',
      'weather',
      { location: 'us-midwest', season: 'summer' },
      { temperature: 82 },
    ],
    ['m\\,a\\ b=c,t\\ k\\,\\==v\\ \\,\\=x f\\ \\,\\=1=2', 'm,a b=c', { 't k,=': 'v ,=x' }, { 'f ,=1': 2 }],
    ['"m" f=1', '"m"', {}, { f: 1 }],
    ['m,"t"="v" "f"=1', 'm', { '"t"': '"v"' }, { '"f"': 1 }],
    ['m,p=C:\\Windows\\\\x f=1', 'm', { p: 'C:\\Windows\\\\x' }, { f: 1 }],
    ['m,p=C:\\\\,x,q=y f=1', 'm', { p: 'C:\\,x', q: 'y' }, { f: 1 }],
    ['m,t=a\\\nb f=1', 'm', { t: 'a\nb' }, { f: 1 }],
    ['  m,t=a   f=1   7  ', 'm', { t: 'a' }, { f: 1 }],
    ['m,t=🌡 ü=1', 'm', { t: '🌡' }, { ü: 1 }],
  ]
  it.each(names)('keeps the names of %j', (line, measurement, tags, fields) => {
    const point = parsePoint(line)
    expect(point.measurement).toBe(measurement)
    expect(Object.fromEntries(point.tags)).toEqual(tags)
    expect(Object.fromEntries(point.fields)).toEqual(fields)
  })

  const refused: [line: string, message: RegExp][] = [
    ['m', /fields: missing/],
    ['m,t=v', /fields: missing/],
    [',t=v f=1', /measurement: missing/],
    ['m,t f=1', /tags: expected name=value/],
    ['m,=v f=1', /tags: expected a name/],
    ['m,t= f=1', /tags\.t: expected a value/],
    ['m,t=a,t=b f=1', /tags\.t: given twice/],
    ['m f', /fields: expected name=value, got f/],
    ['m =1', /fields: expected a name/],
    ['m f=', /fields\.f: expected a value/],
    ['m f=1,', /fields: expected name=value/],
    ['m f=1,f=2', /fields\.f: given twice/],
    ['m __proto__=1', /not a field name/],
    ['m f=NaN', /fields\.f: expected a number.*got NaN/],
    ['m f=1.5i', /fields\.f: expected a number/],
    ['m f=0x1', /fields\.f: expected a number/],
    ['m f=1e999', /fields\.f: expected a finite number/],
    ['m f=9007199254740993i', /within ±9007199254740991.*send it as text/],
    ['m f=18446744073709551615u', /within ±9007199254740991/],
    ['m f=18446744073709551616u', /an integer of 64 bits/],
    ['m f=-1u', /an integer from 0/],
    ['m f=tRUE', /fields\.f: expected a number/],
    ['m f="open', /closing quote/],
    ['m f="a"b', /a comma or a space behind it/],
    ['m f=1 noon', /time: expected an integer, got noon/],
    ['m f=1 1 2', /time: expected an integer/],
    ['m f=1 99999999999999999999', /time: expected an integer/],
  ]
  it.each(refused)('%j is refused by name', async (line, message) => {
    expect((await failureOf(line)).message).toMatch(message)
  })

  it('that is not UTF-8 is refused, and nothing is put in its place', async () => {
    await expect(decode(Buffer.from([0x6d, 0x20, 0xff, 0x3d, 0x31]))).rejects.toMatchObject({
      code: 'invalid',
      message: 'line: not UTF-8 text',
    })
  })
})

describe('a payload', () => {
  it('has comments, empty lines and any end of line, and an unclosed quote costs its own line alone', async () => {
    const decoded = await decode('# it"s=" a comment\n\nm f=1\r\n  \nm f="a\nb",g=1\nm f="open\nm f=2\nm f=3')
    expect(decoded.map(one => ('failure' in one ? one.failure.field : JSON.parse(one.event.frame).data.m.f))).toEqual([
      1,
      'a\nb',
      'fields.f',
      2,
      3,
    ])
  })

  it('is cut where its lines end, wherever a piece of it ends', () => {
    const text = 'm f=1\nm\\\nx f="a\nb\\"" 5\n# "=\nm,t=" f=2\n'
    const bytes = Buffer.from(text)
    const ends: number[] = []
    for (let from = 0; from < bytes.length; ) {
      const once = influxLines.ends()
      const bit = influxLines.ends()
      const end = once.next(bytes, from, false)
      ends.push(end)
      for (let length = from; length < end; length++) expect(bit.next(bytes.subarray(0, length), from, false)).toBe(-1)
      expect(bit.next(bytes, from, false)).toBe(end)
      from = end + 1
    }
    expect(ends.map(end => text[end])).toEqual(['\n', '\n', '\n', '\n'])
  })
})

describe('an event', () => {
  it('is of the device that a tag names, the measurement is its type, and the other tags stand with the fields', async () => {
    expect(await eventOf('weather,host=roof,site=oslo wind=3.5,gust=7i 1772433669104000000')).toMatchObject({
      targetName: 'projects/p/devices/roof',
      eventType: 'weather',
      data: { weather: { wind: 3.5, gust: 7, site: 'oslo' } },
      timestamp: '2026-03-02T06:41:09.104000Z',
    })
  })

  it.each([
    ['m,host=h,id=i,sensor=s,device_id=d,device=e f=1', undefined, 'e'],
    ['m,host=h,id=i,sensor=s,device_id=d f=1', undefined, 'd'],
    ['m,host=h,id=i,sensor=s f=1', undefined, 's'],
    ['m,host=h,id=i f=1', undefined, 'i'],
    ['m,host=h f=1', undefined, 'h'],
    ['m,other=h f=1', undefined, 'm'],
    ['m,mac=a,host=h f=1', ['mac'], 'a'],
    ['m,host=h f=1', ['mac'], 'm'],
    ['m,host=a/b+c f=1', undefined, 'a:b_c'],
  ])('%j with tags %j is of device %s', async (line, deviceTag, device) => {
    expect((await eventOf(line, deviceTag ? { deviceTag } : {})).targetName).toBe(`projects/p/devices/${device}`)
  })

  // Lines of Telegraf as the READMEs of its plugins show them.
  it.each([
    ['cpu,cpu=cpu-total,host=a usage_user=2', 'a'],
    ['cpu,cpu=cpu0,host=a usage_user=2', 'a:cpu0'],
    ['disk,device=sda1,fstype=ext4,host=a,mode=rw,path=/ free=1i', 'a::'],
    ['disk,device=sda1,fstype=ext4,host=a,mode=rw,path=/boot free=1i', 'a::boot'],
    ['diskio,name=sda,host=a reads=1i', 'a:sda'],
    ['net,interface=eth0,host=a bytes_recv=1i', 'a:eth0'],
    ['sensors,chip=coretemp-isa-0000,feature=core_0,host=a temp_input=40', 'a:coretemp-isa-0000:core_0'],
    ['smart_device,enabled=Enabled,host=a,device=rdisk0 temp_c=40i', 'a:rdisk0'],
    ['smart_attribute,device=rdisk0,host=a,id=199,name=UDMA_CRC_Error_Count value=200i', 'a:rdisk0:UDMA_CRC_Error_Count'],
    ['win_cpu,instance=_Total,host=a Percent_Idle_Time=9', 'a'],
    ['win_cpu,instance=1,host=a Percent_Idle_Time=9', 'a:1'],
    ['mem,host=a used=1i', 'a'],
    ['net,interface=eth0 bytes_recv=1i', 'net:eth0'],
  ])('%j is of device %s', async (line, device) => {
    expect((await eventOf(line)).targetName).toBe(`projects/p/devices/${device}`)
  })

  it('is of as many devices as its channel tags have values, and tells them as they were', async () => {
    const paths = ['/', ':', '/a/b', '/a:b', '/a+b', '/a_b', '/a#b', '%3A']
    const events = await Promise.all(paths.map(path => eventOf(`disk,host=a,path=${path} free=1i`)))
    expect(new Set(events.map(({ targetName }) => targetName)).size).toBe(paths.length)
    expect(events.map(({ data }) => data['disk']?.['path'])).toEqual(paths)
  })

  it.each([
    ['a tag of its own', { channelTag: ['tank'] }, undefined, 'd:left'],
    ['none', { channelTag: [] }, undefined, 'd'],
    ['two', { channelTag: ['tank', 'cpu'] }, undefined, 'd:left:cpu1'],
    ['the one that names the device', { deviceTag: ['tank'], channelTag: ['tank', 'cpu'] }, undefined, 'left:cpu1'],
    ['those beside the device of the topic', {}, 'placed', 'placed:cpu1'],
  ])('has as channels %s', async (_, options, device, expected) => {
    const payload = { bytes: Buffer.from('level,device=d,tank=left,cpu=cpu1 f=1'), topic: [], place: { project: 'p', device }, options }
    const { decoded } = await influx.decode({ ...payload, memory: NO_MEMORY }, clock)
    expect(decoded).toMatchObject([{ event: { device: expected } }])
  })

  it('keeps what had to be changed to be a name, and a tag that has the name of a field', async () => {
    const { eventType, data } = await eventOf('win cpu,host=a/b,x=tag x=1'.replace('win cpu', 'win\\ cpu'))
    expect(eventType).toBe('win_cpu')
    expect(data[eventType]).toMatchObject({ measurement: 'win cpu', host: 'a/b', x: 1, x_1: 'tag' })
  })

  it('has its value where readers of its type look for it', async () => {
    expect((await eventOf('co2,device=d value=417')).data).toMatchObject({ co2: { ppm: 417 } })
    expect((await eventOf('temperature,device=d value=21.5')).data).toMatchObject({ temperature: { value: 21.5 } })
  })

  it.each([
    ['n', '1772433669104000000'],
    ['ns', '1772433669104000000'],
    ['u', '1772433669104000'],
    ['us', '1772433669104000'],
    ['µ', '1772433669104000'],
    ['ms', '1772433669104'],
    ['s', '1772433669'],
    ['m', '29540561'],
    ['h', '492342'],
  ])('in precision %s has the time that it says', async (precision, time) => {
    const at = new Date((await eventOf(`m f=1 ${time}`, { precision })).timestamp).getTime()
    const expected =
      precision === 's' ? 1772433669000 : precision === 'm' ? 29540561 * 60_000 : precision === 'h' ? 492342 * 3_600_000 : 1772433669104
    expect(at).toBe(expected)
  })

  it('without a time has that of arrival, and two that differ by nanoseconds are two', async () => {
    expect((await eventOf('m f=1')).timestamp).toBe('2026-03-02T06:41:09.104000Z')
    const keys = (
      await decode('m f=1 1772433669104000001\nm f=1 1772433669104000002\nm f=1 1772433669104000000\nm f=1 1772433669104000000')
    ).map(one => 'event' in one && one.event.key)
    expect(new Set(keys).size).toBe(3)
  })
})
