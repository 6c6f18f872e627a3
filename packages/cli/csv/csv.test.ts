// Recordings: the times and numbers they may be written in, what columns become, and an account that adds up.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { formatTime } from '../../core/time.ts'
import type { Draft } from '../fleet/fleet.ts'
import { eventTypeOf, missingWhen, parseMapping, surveyFile } from './column.ts'
import { delimiterOf } from './csv.ts'
import { parseMoment, parseZone } from './moment.ts'
import { type Account, openAccount, timedRows } from './replay.ts'

const folder = mkdtempSync(join(tmpdir(), 'telltale-csv-'))
afterAll(() => rmSync(folder, { recursive: true }))

type Options = { readonly missing?: string[]; readonly map?: string[]; readonly zone?: string }

async function replayed(text: string, { missing = [], map = [], zone = 'Z' }: Options = {}) {
  const path = join(folder, 'station 7.csv')
  writeFileSync(path, text)
  const isMissing = missingWhen(missing)
  const delimiter = await delimiterOf(path)
  const layout = await surveyFile(path, delimiter, { mappings: map.map(parseMapping), missing: isMissing })
  const account: Account = openAccount()
  const drafts: Draft[] = []
  for await (const row of timedRows({ path, delimiter, layout, zone, missing: isMissing }, account)) drafts.push(...row.take())
  return {
    drafts,
    account,
    layout,
    events: drafts.map(({ device, eventType, fields, timeUs }) => [device, eventType, fields, formatTime(timeUs)]),
  }
}

const NOON = '2004-03-10T12:00:00.000000Z'

test.each([
  ['2004-03-10T12:00:00Z', 'Z', NOON],
  ['2004-03-10T14:00:00+02:00', 'Z', NOON],
  ['2004-03-10 12:00:00', 'Z', NOON],
  ['2004-03-10 14:00', '+02:00', NOON],
  ['2004-03-10T12:00:00.25Z', 'Z', '2004-03-10T12:00:00.250000Z'],
  ['10/03/2004 12:00:00', 'Z', NOON],
  ['10/03/2004 12.00.00', 'Z', NOON],
  ['10.03.2004 12:00', 'Z', NOON],
  ['4/04/2005 09:30:00', '-0330', '2005-04-04T13:00:00.000000Z'],
  ['1078920000', 'Z', NOON],
  ['1078920000.5', 'Z', '2004-03-10T12:00:00.500000Z'],
  ['1078920000000', '+02:00', NOON],
  ['1078920000000000', 'Z', NOON],
  ['1078920000000000000', 'Z', NOON],
])('the time %s in zone %s is %s', (text, zone, expected) => {
  expect(formatTime(parseMoment(text, zone) ?? 0)).toBe(expected)
})

test.each(['', 'soon', '31/02/2004 12:00:00', '2004-13-01T00:00:00Z', '12:00:00', '10/03/04 12:00', '2004-03-10T25:00:00Z', '-5'])(
  '"%s" is not a time',
  text => {
    expect(parseMoment(text, 'Z')).toBeUndefined()
  },
)

test('time zones are UTC or a fixed offset', () => {
  expect(['UTC', 'z', '+02:00', '-0530'].map(parseZone)).toEqual(['Z', 'Z', '+02:00', '-05:30'])
  expect(['Europe/Oslo', '+15:00', '2', ''].map(parseZone)).toEqual([undefined, undefined, undefined, undefined])
})

test('each column of numbers becomes an event type of one device named after the file', async () => {
  const { events, layout } = await replayed('timestamp,T,NO2(GT),remark\n2004-03-10T12:00:00Z,13.6,113,windy\n')
  expect(events).toEqual([
    ['station 7', 'T', { value: 13.6 }, NOON],
    ['station 7', 'NO2_GT', { value: 113 }, NOON],
  ])
  expect(layout.ignored).toEqual(['remark'])
})

test('Date and Time columns are one time, with dots or slashes, and the marked values are missing', async () => {
  const slashes = await replayed('Date,Time,T,RH\n10/03/2004,12:00:00,13.6,-200\n10/03/2004,13:00:00,-200.0,\n', { missing: ['-200'] })
  expect(slashes.events).toEqual([['station 7', 'T', { value: 13.6 }, NOON]])
  expect(slashes.account).toMatchObject({ rows: 2, values: 1, missing: 3, malformedRows: 0, malformedValues: 0 })
  const dots = await replayed('date,TIME,T\n10.03.2004,12.00.00,1\n')
  expect(dots.events).toEqual([['station 7', 'T', { value: 1 }, NOON]])
})

test('a file separated by semicolons may write decimals with a comma', async () => {
  const { events } = await replayed('\ufeffDate;Time;CO(GT);\r\n10/03/2004;12.00.00;2,6;\r\n')
  expect(events).toEqual([['station 7', 'CO_GT', { value: 2.6 }, NOON]])
})

test('mapped columns of one device and type are fields of one event, and the others keep their default', async () => {
  const map = ['T=roof:humidity.temperature', 'RH=roof:humidity', 'CO=gas:co2.ppm']
  const { events } = await replayed('time,T,RH,CO,AH\n1078920000,13.6,48.9,400,0.7\n', { map })
  expect(events).toEqual([
    ['roof', 'humidity', { temperature: 13.6, relativeHumidity: 48.9 }, NOON],
    ['gas', 'co2', { ppm: 400 }, NOON],
    ['station 7', 'AH', { value: 0.7 }, NOON],
  ])
})

test('every row and value is accounted for, malformed ones with line and reason', async () => {
  const text = [
    'time,a,b',
    '1078920000,1,2',
    'yesterday,1,2',
    '1078920060,1',
    '1078920120,1,2,3',
    '1078920180,x,2',
    '1078920240,"a"b,2',
    ',,',
    '1078920300,,7',
    '1078920300,1e999,8',
  ]
  const { account, drafts } = await replayed(text.join('\n'))
  expect(account.malformed).toEqual([
    { line: 3, reason: 'not a time: "yesterday"' },
    { line: 4, reason: 'expected 3 columns, found 2' },
    { line: 5, reason: 'expected 3 columns, found 4' },
    { line: 6, column: 'a', reason: 'not a number: "x"' },
    { line: 7, reason: 'text after a closing quote' },
    { line: 10, column: 'a', reason: 'not a number: "1e999"' },
  ])
  expect(account).toMatchObject({ rows: 9, emptyRows: 1, malformedRows: 4, values: 5, missing: 1, malformedValues: 2 })
  // Of the four good rows each of two cells is in exactly one count.
  expect(account.values + account.missing + account.malformedValues).toBe(8)
  expect(drafts.length).toBe(5)
})

test('quoted values are read, and a quote that is never closed costs one row, not the rest of the file', async () => {
  const { account, drafts } = await replayed('time,a,"b, c"\n1078920000,"1"," 2"\n1078920060,"2,3\n1078920120,3,4\n')
  expect(drafts.map(({ eventType, fields }) => [eventType, fields.value])).toEqual([
    ['a', 1],
    ['b_c', 2],
    ['a', 3],
    ['b_c', 4],
  ])
  expect(account.malformed).toEqual([{ line: 3, reason: 'a quote is not closed on its line' }])
})

describe('a replay is refused with a reason', () => {
  test.each([
    ['a,b\n1,2\n', {}, /--replay: expected a column timestamp, time or datetime/],
    ['time,remark\n1,calm\n', {}, /--replay: expected at least one column of numbers/],
    ['time,a\n1,2\n', { map: ['b=x:y'] }, /--map: expected one of the columns time, a, got "b"/],
    ['time,a\n1,2\n', { map: ['a'] }, /--map: expected COLUMN=device:eventType/],
    ['time,a\n1,2\n', { map: ['a=x/y:z'] }, /--map: expected/],
    ['time,a(x),a[x]\n1,2,3\n', {}, /--map: expected different targets, but "a\(x\)" and "a\[x\]"/],
    ['', {}, /--replay: expected a header line/],
  ])('%j %j', async (text, options, message) => {
    await expect(replayed(text, options)).rejects.toThrow(message)
  })

  test('a file that is not there', async () => {
    await expect(delimiterOf(join(folder, 'none.csv'))).rejects.toThrow(/--replay: expected a CSV file .*ENOENT/)
  })
})

test('a column name becomes an event type that the server accepts', () => {
  expect(['PT08.S1(CO)', 'C6H6 GT', '2nd floor', 'Température', '__proto__', '°'].map(eventTypeOf)).toEqual([
    'PT08.S1_CO',
    'C6H6_GT',
    'column_2nd_floor',
    'Temp_rature',
    'proto',
    'column_',
  ])
})
