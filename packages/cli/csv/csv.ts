// The rows of a CSV file one by one, each with its line number; a row that cannot be read is a row with a problem, never skipped.
import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import { CsvError } from 'csv-parse'
import { parse } from 'csv-parse/sync'
import { invalid } from '../../core/failure.ts'

export type Row = { readonly line: number; readonly cells: readonly string[]; readonly problem?: undefined } | Problem
type Problem = { readonly line: number; readonly problem: string }

const DELIMITERS = [',', ';', '\t', '|']
const HEAD_BYTES = 64 * 1024
const MAX_LINE_CHARS = 1024 * 1024

/** Which delimiter the first line uses most. */
export async function delimiterOf(path: string): Promise<string> {
  const head = await headOf(path)
  const [first = ''] = head.split(/\r\n|\n|\r/, 1)
  const count = (delimiter: string) => first.split(delimiter).length
  return DELIMITERS.reduce((best, delimiter) => (count(delimiter) > count(best) ? delimiter : best))
}

async function headOf(path: string): Promise<string> {
  try {
    const file = await open(path, 'r')
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0)
      return buffer.toString('utf8', 0, bytesRead)
    } finally {
      await file.close()
    }
  } catch (error) {
    throw invalid('--replay', `expected a CSV file that can be read, got "${path}" (${(error as NodeJS.ErrnoException).code})`)
  }
}

/**
 * The header is the first row; blank lines are not rows. A row is a line: a quoted line break is a problem of the two lines it is on,
 * because otherwise one stray quote would swallow the rest of the file.
 */
export async function* readRows(path: string, delimiter: string): AsyncGenerator<Row> {
  for await (const { line, text } of readLines(path)) {
    // A parser for every line would be twenty times slower, and sensors seldom quote.
    if (text.includes('"')) yield quotedRow(line, text, delimiter)
    else if (text.trim() !== '') yield { line, cells: text.split(delimiter).map(cell => cell.trim()) }
  }
}

function quotedRow(line: number, text: string, delimiter: string): Row {
  try {
    const [cells = []] = parse(text, { delimiter, trim: true, relax_column_count: true })
    return { line, cells: cells.map(cell => cell.trim()) }
  } catch (error) {
    if (error instanceof CsvError) return { line, problem: PROBLEMS.get(error.code) ?? error.message }
    throw error
  }
}

const PROBLEMS: ReadonlyMap<string, string> = new Map([
  ['CSV_QUOTE_NOT_CLOSED', 'a quote is not closed on its line'],
  ['CSV_INVALID_CLOSING_QUOTE', 'text after a closing quote'],
  ['INVALID_OPENING_QUOTE', 'a quote inside an unquoted value'],
])

async function* readLines(path: string): AsyncGenerator<{ readonly line: number; readonly text: string }> {
  let line = 0
  let rest = ''
  for await (const chunk of createReadStream(path, 'utf8')) {
    const lines = (rest + String(chunk)).split('\n')
    rest = lines.pop() ?? ''
    if (rest.length > MAX_LINE_CHARS)
      throw invalid('--replay', `expected lines of up to ${MAX_LINE_CHARS} characters, line ${line + 1} is longer`)
    for (const text of lines) yield { line: ++line, text: plain(text, line) }
  }
  if (rest !== '') yield { line: ++line, text: plain(rest, line) }
}

function plain(text: string, line: number): string {
  const bare = text.endsWith('\r') ? text.slice(0, -1) : text
  return line === 1 && bare.startsWith('\ufeff') ? bare.slice(1) : bare
}
