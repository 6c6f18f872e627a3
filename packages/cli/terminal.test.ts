// The line that stands below the others while a command runs.
import { PassThrough } from 'node:stream'
import { expect, test } from 'vitest'
import { StatusLine } from './terminal.ts'

function lineOn(columns: number | undefined): { line: StatusLine; written: () => string[] } {
  const screen = Object.assign(new PassThrough({ encoding: 'utf8' }), { isTTY: true, ...(columns === undefined ? {} : { columns }) })
  return { line: new StatusLine(screen), written: () => String(screen.read()).split('\r\u001b[2K').slice(1) }
}

test.each([
  [10, 'one two t'],
  [0, 'one two three'],
  [undefined, 'one two three'],
])('on a terminal of %s columns a status stays on its line, and whole when it comes back', (columns, seen) => {
  const { line, written } = lineOn(columns)
  line.show('one two three')
  line.clear()
  line.restore()
  expect(written()).toEqual([seen, '', seen])
})
