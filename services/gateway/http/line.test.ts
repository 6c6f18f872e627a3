// From bytes to whole lines: the same lines however the bytes come, and no more work for hostile ones.
import { describe, expect, it } from 'vitest'
import { type LineFormat, MAX_LINE_BYTES } from '../decode/format.ts'
import { influxLines } from '../decode/influxline.ts'
import { plainLines } from '../decode/line.ts'
import { numberAt, type Part, partsOf } from './line.ts'

async function* piecesOf(bytes: Buffer, pieceBytes: number) {
  for (let at = 0; at < bytes.length; at += pieceBytes) yield bytes.subarray(at, at + pieceBytes)
}

async function partsIn(text: string, format: LineFormat, pieceBytes = 65_536): Promise<Part[]> {
  const parts: Part[] = []
  for await (const part of partsOf(piecesOf(Buffer.from(text), pieceBytes), format)) parts.push(part)
  return parts
}

const linesIn = async (text: string, format: LineFormat, pieceBytes?: number) =>
  (await partsIn(text, format, pieceBytes)).flatMap(part =>
    part.lines.map(({ from, to }) => ({
      text: part.bytes.toString('utf8', from, to),
      number: numberAt(part, from),
      isTooLong: part.isTooLong,
    })),
  )

/** What other programs took of the time is not ours. */
async function cpuMsOf(act: () => Promise<unknown>): Promise<number> {
  const before = process.cpuUsage()
  await act()
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1000
}

describe('lines', () => {
  it.each([
    ['m f=1\n\n# a\nm f="a\nb" 5\nm f=2', ['m f=1', 'm f="a\nb" 5', 'm f=2'], [1, 4, 6]],
    ['m f="open\nm f=2\n\nm f="x\ny"\nm f=3', ['m f="open\nm f=2\n\nm f="x', 'y"', 'm f=3'], [1, 5, 6]],
    ['m f="open\nm f=2\n\nm f=3', ['m f="open', 'm f=2', 'm f=3'], [1, 2, 4]],
    ['m f="a\\\nb\nm f=2\n', ['m f="a\\\nb', 'm f=2'], [1, 3]],
  ])('of line protocol in %j are the same in pieces of any size, with their numbers', async (text, expected, numbers) => {
    for (let size = 1; size <= text.length; size++) {
      const lines = await linesIn(text, influxLines, size)
      expect([lines.map(one => one.text), lines.map(({ number }) => number)]).toEqual([expected, numbers])
    }
  })

  it('of which one is too long are all there, each with its number, in pieces of any size', async () => {
    const long = 'x'.repeat(MAX_LINE_BYTES + 1)
    for (const [format, open] of [
      [plainLines, ''],
      [influxLines, 'm f="\\\n'],
    ] as const)
      for (const size of [1000, 65_536, 1_000_000]) {
        const lines = await linesIn(`a\n\n${open}${long}\nb\nc`, format, size)
        const more = open === '' ? 0 : 1
        expect(lines.map(({ number, isTooLong }) => [number, isTooLong])).toEqual([
          [1, false],
          [3, true],
          [4 + more, false],
          [5 + more, false],
        ])
        expect([lines[0]?.text, lines[2]?.text, lines[3]?.text]).toEqual(['a', 'b', 'c'])
      }
  })

  it('behind a quote that is closed too late are taken one by one, and nothing is held beyond a line', async () => {
    const row = 'm f=1,g=2\n'
    const count = Math.ceil((2 * MAX_LINE_BYTES) / row.length)
    const text = `m f="\n${row.repeat(count)}" 5\nm f=9`
    for (const size of [4096, 65_536]) {
      const lines = await linesIn(text, influxLines, size)
      expect([lines.length, lines[1]?.text, lines.at(-1)]).toEqual([
        count + 3,
        row.trim(),
        { text: 'm f=9', number: count + 3, isTooLong: false },
      ])
    }
  })

  it.each([
    ['quotes that open in every line and close in none', 'm f=""x="\n'],
    ['newlines that are escaped', '\\\n'],
    ['newlines of which every other is escaped, in quotes', 'm f=""x="\\\n\n'],
    ['quotes that close in the next line', 'm f=1,g="\n'],
    ['nothing but quotes and newlines', ' ="\n'],
  ])('with %s cost no more than others', async (_, row) => {
    const ofLength = (bytes: number) => row.repeat(Math.ceil(bytes / row.length))
    const ordinary = 'm,t="a" f="b"\n'.repeat(300_000)
    await partsIn(ordinary, influxLines)
    const usual = await cpuMsOf(() => partsIn(ordinary, influxLines))
    const whole = await cpuMsOf(() => partsIn(ofLength(ordinary.length), influxLines))
    expect(whole).toBeLessThan(20 * usual + 500)
    // As they come over a slow line.
    const bits = await cpuMsOf(() => partsIn(ofLength(MAX_LINE_BYTES), influxLines, 100))
    expect(bits).toBeLessThan(20 * usual + 500)
  })
})
