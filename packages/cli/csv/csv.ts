// The rows of a CSV file one by one, each with its line number; a row that cannot be read is a row with a problem, never skipped.
import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import { pipeline } from 'node:stream/promises'
import { type CsvError, type Info, parse } from 'csv-parse'
import { invalid } from '../../core/failure.ts'

export type Row = { readonly line: number; readonly cells: readonly string[]; readonly problem?: undefined } | Problem
export type Problem = { readonly line: number; readonly problem: string }

const DELIMITERS = [',', ';', '\t', '|']
const HEAD_BYTES = 64 * 1024
const MAX_ROW_BYTES = 1024 * 1024

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

/** The header is the first row. Blank lines are not rows. */
export async function* readRows(path: string, delimiter: string): AsyncGenerator<Row> {
  const problems: Problem[] = []
  const parser = parse({
    delimiter,
    bom: true,
    info: true,
    trim: true,
    relax_column_count: true,
    skip_empty_lines: true,
    skip_records_with_error: true,
    max_record_size: MAX_ROW_BYTES,
    on_skip: error => {
      if (error !== undefined) problems.push({ line: Number(error.lines), problem: problemOf(error) })
      return undefined
    },
  })
  const feeding = pipeline(createReadStream(path), parser)
  // A failure of the file reaches the loop below through the parser; this only marks the promise as watched.
  feeding.catch((error: Error) => parser.destroy(error))
  for await (const { record, info } of parser as AsyncIterable<{ record: string[]; info: Info }>) {
    while (problems.length > 0) yield problems.shift() as Problem
    yield { line: info.lines, cells: record }
  }
  yield* problems
}

function problemOf(error: CsvError): string {
  return error.message.split(/[:,] (?:value|at line|the option)/, 1)[0] ?? error.code
}
