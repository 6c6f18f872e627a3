// Frames byte for byte, and the cursors in them.
import { describe, expect, it } from 'vitest'
import { errorFrame, Frames } from './frame.ts'

const clock = { nowUs: () => Date.UTC(2026, 0, 31, 12) * 1000, newId: () => 'e' }
const frames = new Frames('p', 'event', clock, 'key')

describe('a frame', () => {
  it('carries an event and where to go on after it', () => {
    const cursor = frames.cursor('1700000000000-3', 7)
    expect(frames.item('ndjson', '{"a":1}', '1700000000000-3', 7)).toBe(`{"result":{"event":{"a":1},"cursor":"${cursor}"}}\n`)
    expect(frames.item('sse', '{"a":1}', '1700000000000-3', 7)).toBe(`id: ${cursor}\ndata: {"result":{"event":{"a":1}}}\n\n`)
    expect(new Frames('p', 'alarm', clock, 'key').item('sse', '{"a":1}', '1-0', 0)).toMatch(
      /^id: 1-0\.0\.[0-9a-z]+\ndata: \{"result":\{"alarm":\{"a":1\}\}\}\n\n$/,
    )
  })

  it.each([10, 125, 126, 65_535, 65_536, 70_000])('of a WebSocket is one whole text message, of about %i bytes', bytes => {
    const item = Buffer.from(frames.item('ws', `{"a":"${'x'.repeat(bytes)}"}`, '1-0', 0), 'latin1')
    for (const frame of [item, frames.ping('ws'), frames.ping('ws', 'cursor'), errorFrame('ws', 500, 'Internal', 'x'.repeat(bytes))]) {
      const [first, short = 0] = frame
      expect(first).toBe(0x81)
      const [head, length] = short < 126 ? [2, short] : short === 126 ? [4, frame.readUInt16BE(2)] : [10, Number(frame.readBigUInt64BE(2))]
      expect(frame.length).toBe(head + length)
      expect(JSON.parse(frame.toString('utf8', head))).toEqual(expect.any(Object))
    }
  })

  it('of a ping is an event of the project', () => {
    const ping =
      '{"result":{"event":{"eventId":"e","targetName":"projects/p","eventType":"ping","data":null,"timestamp":"2026-01-31T12:00:00.000000Z"}}}'
    expect(frames.ping('ndjson').toString()).toBe(`${ping}\n`)
    expect(frames.ping('sse').toString()).toBe(`data: ${ping}\n\n`)
    const cursor = frames.cursor('1-0', 999_999)
    expect(frames.ping('ndjson', cursor).toString()).toBe(`${ping.slice(0, -2)},"cursor":"${cursor}"}}\n`)
    expect(frames.ping('sse', cursor).toString()).toBe(`id: ${cursor}\ndata: ${ping}\n\n`)
  })

  it('of a gap names the range', () => {
    const { result } = JSON.parse(frames.gap('ndjson', '1-0', '2-0').toString())
    expect(result.event).toMatchObject({ eventType: 'gap', data: { gap: { from: expect.any(String), to: expect.any(String) } } })
    expect(frames.parseCursor(result.event.data.gap.to).entryId).toBe('2-0')
    expect(result.cursor).toBe(result.event.data.gap.to)
    expect(frames.gap('sse', '1-0', '2-0').toString()).toMatch(`id: ${result.cursor}\ndata: {"result":{"event":{`)
  })

  it('of an error is what the known clients read', () => {
    expect(errorFrame('sse', 408, 'Request Timeout', 'closing stream').toString()).toBe(
      'data: {"error":{"code":408,"grpcCode":1,"httpCode":408,"httpStatus":"Request Timeout","message":"closing stream","details":[]}}\n\n',
    )
  })
})

describe('a cursor', () => {
  it('is read back', () => {
    expect(frames.parseCursor(frames.cursor('1700000000000-3', 7))).toEqual({ entryId: '1700000000000-3', index: 7 })
    expect(new Frames('p', 'event', clock, 'key').parseCursor(frames.cursor('1-0', 999_999))).toEqual({ entryId: '1-0', index: 999_999 })
  })

  it('of another project or of its alarms is refused', () => {
    for (const other of [new Frames('q', 'event', clock, 'key'), new Frames('p', 'alarm', clock, 'key')])
      expect(() => frames.parseCursor(other.cursor('1-0', 0))).toThrow('cursor: it belongs to another stream than that of project p')
  })

  it('of another installation, or made from one that was given out, is refused', () => {
    const given = frames.cursor('1700000000000-3', 7)
    for (const text of [new Frames('p', 'event', clock, 'other').cursor('1-0', 0), given.replace('-3.', '-4.'), `${given.slice(0, -1)}0`])
      expect(() => frames.parseCursor(text)).toThrow('cursor: this installation never gave it out')
  })

  it('of an earlier version is refused as such', () => {
    for (const text of ['1700000000000-3.7.1tk2a9z', '1-0.0.abc'])
      expect(() => frames.parseCursor(text)).toThrow('cursor: it is of an earlier version of Telltale')
  })

  it.each([
    '',
    'x',
    '1-0',
    '1-0.0',
    '1-0.0.',
    '-1-0.0.abcabcabcabcabc',
    '1-0.0.abcabcabcabcabc\n',
    '1-0.0.ABCABCABCABCABC',
    `${'9'.repeat(40)}-0.0.abcabcabcabcabc`,
    '1-0.9999999.abcabcabcabcabc',
    '0-0.-1.abcabcabcabcabc',
  ])('%j is refused', text => {
    expect(() => frames.parseCursor(text)).toThrow('cursor: expected the id of an earlier frame')
  })
})
