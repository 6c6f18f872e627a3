// Frames byte for byte, and the cursors in them.
import { describe, expect, it } from 'vitest'
import { errorFrame, Frames } from './frame.ts'

const frames = new Frames('p', 'event')
const NOW_US = Date.UTC(2026, 0, 31, 12) * 1000

describe('a frame', () => {
  it('carries an event and where to go on after it', () => {
    const cursor = frames.cursor('1700000000000-3', 7)
    expect(frames.item('ndjson', '{"a":1}', '1700000000000-3', 7)).toBe(`{"result":{"event":{"a":1},"cursor":"${cursor}"}}\n`)
    expect(frames.item('sse', '{"a":1}', '1700000000000-3', 7)).toBe(`id: ${cursor}\ndata: {"result":{"event":{"a":1}}}\n\n`)
    expect(new Frames('p', 'alarm').item('sse', '{"a":1}', '1-0', 0)).toMatch(
      /^id: 1-0\.0\.[0-9a-z]+\ndata: \{"result":\{"alarm":\{"a":1\}\}\}\n\n$/,
    )
  })

  it('of a ping is an event of the project', () => {
    const ping =
      '{"result":{"event":{"eventId":"e","targetName":"projects/p","eventType":"ping","data":null,"timestamp":"2026-01-31T12:00:00.000000Z"}}}'
    expect(frames.ping('ndjson', 'e', NOW_US)).toBe(`${ping}\n`)
    expect(frames.ping('sse', 'e', NOW_US)).toBe(`data: ${ping}\n\n`)
  })

  it('of a gap names the range', () => {
    const { result } = JSON.parse(frames.gap('ndjson', 'e', NOW_US, '1-0', '2-0'))
    expect(result.event).toMatchObject({ eventType: 'gap', data: { gap: { from: expect.any(String), to: expect.any(String) } } })
    expect(frames.parseCursor(result.event.data.gap.to).entryId).toBe('2-0')
  })

  it('of an error is what the known clients read', () => {
    expect(errorFrame('sse', 408, 'Request Timeout', 'closing stream')).toBe(
      'data: {"error":{"code":408,"grpcCode":1,"httpCode":408,"httpStatus":"Request Timeout","message":"closing stream","details":[]}}\n\n',
    )
  })
})

describe('a cursor', () => {
  it('is read back', () => {
    expect(frames.parseCursor(frames.cursor('1700000000000-3', 7))).toEqual({ entryId: '1700000000000-3', index: 7 })
  })

  it('of another project or of its alarms is refused', () => {
    for (const other of [new Frames('q', 'event'), new Frames('p', 'alarm')])
      expect(() => frames.parseCursor(other.cursor('1-0', 0))).toThrow('cursor: it belongs to another stream than that of project p')
  })

  it.each([
    '',
    'x',
    '1-0',
    '1-0.0',
    '1-0.0.',
    '-1-0.0.abc',
    '1-0.0.abc\n',
    '1-0.0.ABC',
    `${'9'.repeat(40)}-0.0.abc`,
    '1-0.9999999.abc',
    '0-0.-1.abc',
  ])('%j is refused', text => {
    expect(() => frames.parseCursor(text)).toThrow('cursor: expected the id of an earlier frame')
  })
})
