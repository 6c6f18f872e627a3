// CSV on its way in: both forms, the ways in which spreadsheets and loggers write it, and lines that are refused alone.
import { describe, expect, it } from 'vitest'
import { formatTime } from '../../../packages/core/time.ts'
import { csv } from './csv.ts'
import type { Clock, Place } from './event.ts'
import { growth, NO_MEMORY } from './fixture.ts'
import type { Output } from './format.ts'

const NOW_US = 1_769_860_800_000_000
const clock: Clock = { nowUs: () => NOW_US, newId: () => 'newid000000000000000' }
const open: Place = { project: 'p' }

type Options = Readonly<Record<string, unknown>>

function decode(text: string | Buffer, options: Options = {}, place = open) {
  return (csv.decode({ bytes: Buffer.from(text), place, topic: [], options, memory: NO_MEMORY }, clock) as Output).decoded
}

function events(text: string, options?: Options, place?: Place) {
  return decode(text, options, place).map(one => {
    if ('failure' in one) return one.failure.message
    const { device, eventType, timeUs, frame } = one.event
    const { samples: _, isBackfilled: __, updateTime: ___, ...fields } = JSON.parse(frame).data[eventType]
    return [device, eventType, fields, ...(timeUs === NOW_US ? [] : [formatTime(timeUs).slice(0, 19)])]
  })
}

describe('a column for each quantity', () => {
  it('becomes events of the device and time of its line', () => {
    const text = 'time,device,temp (°F),co2,note\n2026-01-31T12:00:00Z,door,70.7,415,open\n1769860860,window,32,,\n'
    expect(events(text)).toEqual([
      ['door', 'temperature', { value: 21.5, original: { value: 70.7, unit: '°F' } }],
      ['door', 'co2', { ppm: 415 }],
      ['door', 'note', { value: 'open' }],
      ['window', 'temperature', { value: 0, original: { value: 32, unit: '°F' } }, '2026-01-31T12:01:00'],
    ])
  })

  it('may have no header, where the options name the columns', () => {
    expect(events('70.7|415', { columns: ['temp', 'co2'], units: { temp: '°F' }, device: 'door' })).toMatchObject([
      ['door', 'temperature', { value: 21.5 }],
      ['door', 'co2', { ppm: 415 }],
    ])
  })

  it('is read as a spreadsheet of the continent writes it', () => {
    const text = '\ufeffDatum;Temp;"Raum; Nr."\r\n2026-01-31 13:00:00;21,5;"a ""b"""\r\n\r\n'
    const options = { timeColumn: 'Datum', decimal: ',', offsetMinutes: 60, device: 'd' }
    expect(events(text, options)).toEqual([
      ['d', 'temperature', { value: 21.5 }],
      ['d', 'Raum_Nr.', { value: 'a "b"' }],
    ])
  })

  it('is one event for each line where its type is known', () => {
    expect(events('x,y,value\n1,2,3\n', { eventType: 'co2' }, { project: 'p', device: 'd' })).toEqual([
      ['d', 'co2', { x: 1, y: 2, ppm: 3 }],
    ])
    expect(events('value\n3\n', {}, { project: 'p', device: 'd', eventType: 'level' })).toEqual([['d', 'level', { value: 3 }]])
  })

  it('keeps text, flags, and integers of many digits as they are', () => {
    expect(events('device,a,b,c,d\nx,true,FALSE,12345678901234567890,-1.5e3')).toEqual([
      ['x', 'a', { value: true }],
      ['x', 'b', { value: false }],
      ['x', 'c', { value: '12345678901234567890' }],
      ['x', 'd', { value: -1500 }],
    ])
  })

  it('has no reading where there is none', () => {
    expect(events('device,a,b,c,d\nx,,NaN,-,1')).toEqual([['x', 'd', { value: 1 }]])
    expect(events('device,a,b\nx,-99,1', { missing: ['-99'] })).toEqual([['x', 'b', { value: 1 }]])
  })
})

it('a line for each reading becomes events of one device and time together', () => {
  const text = 'device,type,value,unit,time\nd,humidity,40,%,1769860800\nd,temp,294.65,K,1769860800\n'
  expect(events(text)).toEqual([
    ['d', 'relativeHumidity', { value: 40 }],
    ['d', 'humidity', { relativeHumidity: 40, temperature: 21.5 }],
    ['d', 'temperature', { value: 21.5, original: { value: 294.65, unit: 'K' } }],
  ])
})

it.each([
  ['x,"1', 'line 3: a quote is not closed on its line'],
  ['x,"1"2', 'line 3: text after a closing quote'],
  ['x,a"1"', 'line 3: a quote inside of an unquoted value'],
  ['x,1,2', 'line 3: expected 2 columns, got 3'],
  [`x,${'1'.repeat(65_535)}`, 'line 3: expected at most 65536 characters'],
  [',1', 'line 3: expected a device'],
  ['x,"1,5"', 'line 3, level: expected . before the fraction, got 1,5: set options.decimal'],
  ['x,1e999', 'data.level.value: expected a finite number'],
  ['a\u0001b,1', 'device: expected'],
])('the line %j is refused with its number, and its neighbour is not', (line, reason) => {
  const decoded = events(`device,level\nd,1\n${line}\n`)
  expect(decoded).toContainEqual(['d', 'level', { value: 1 }])
  expect(decoded).toContainEqual(expect.stringContaining(reason))
  expect(decode(`device,level\nd,1\n${line}\n`)).toContainEqual(expect.objectContaining({ element: expect.stringContaining(line) }))
})

it('a time that is none is refused with its line', () => {
  expect(events('time,device,level\nsoon,d,1')).toEqual([expect.stringMatching(/^line 2, time: expected an RFC 3339 time/)])
})

it.each([
  ['', {}, 'payload: expected at least one line'],
  ['device,level', {}, 'payload: expected lines behind the header'],
  ['a,a\n1,2', {}, 'columns: the name "a" stands there twice'],
  ['time,device\n1,2', {}, 'columns: expected one with readings, got time, device'],
  ['a,b\n1,2', { timeColumn: 'when' }, 'options.timeColumn: expected one of the columns a, b, got when'],
  [`${'a,'.repeat(300)}\n1`, {}, 'columns: at most 256, got 301'],
  [`device,${'a'.repeat(129)}\nd,1`, {}, 'columns: expected names of at most 128 characters'],
  [`a\n${'1\n'.repeat(10_001)}`, {}, 'events: at most 10000'],
  [`device,${Array.from({ length: 100 }, (_, i) => `c${i}`).join(',')}\n${`d${',1'.repeat(100)}\n`.repeat(101)}`, {}, 'events: at most'],
] as const)('%.20j cannot be read', (text, options, reason) => {
  expect(() => decode(text, options)).toThrow(reason)
})

it.each([
  ['"x", "1" ,2', { one: 1, two: 2 }],
  ['"a ""b"", c","",2', { two: 2 }],
  ['x,"a ""b"", c",2', { one: 'a "b", c', two: 2 }],
  ['x,"""",""', { one: '"' }],
])('the line %j has the values that RFC 4180 says', (line, fields) => {
  const decoded = decode(`id,one,two\n${line}`, { deviceColumn: 'id' }, { project: 'p', device: 'd', eventType: 'level' })
  expect(decoded).toMatchObject([{ event: { sent: { level: fields } } }])
})

it('a line is measured before it is looked at', () => {
  const commas = (size: number) => () => decode(`${','.repeat(size)}\n1`)
  expect(commas(70_000)).toThrow('line 1: expected at most 65536 characters')
  expect(commas(60_000)).toThrow('columns: at most 256')
})

it.each(['.', ','])('a cell of digits that is no number costs what its length costs, with %s before fractions', decimal => {
  const cells = (size: number) => decode(`device;level\nd;${'1'.repeat(size)}x`, { decimal, delimiter: ';' })
  expect(growth(cells, 4000)).toBeLessThan(32)
})

it('thousands of lines with quotes take little more than those without', () => {
  const lines = (cell: string) => `device,level\n${`${cell},1\n`.repeat(9000)}`
  const took = (text: string) => {
    const startMs = performance.now()
    decode(text)
    return performance.now() - startMs
  }
  const plainMs = Math.min(took(lines('d')), took(lines('d')))
  expect(Math.min(took(lines('"d"')), took(lines('"d"')))).toBeLessThan(plainMs * 3 + 200)
})
