// Rules in files: which ones a folder has, what is in them, and mistakes with the line they are in.
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { type Mistake, type Piece, parseDocuments, readDocuments } from '../../core/document.ts'
import { Failure } from '../../core/failure.ts'
import type { Rule } from '../../core/rule.ts'
import { type Palette, printable } from '../terminal.ts'

export type FileMistake = Mistake & { readonly file: string; readonly text: string }
export type RuleFile = {
  readonly file: string
  readonly text: string
  readonly rules: readonly FoundRule[]
  readonly errors: readonly FileMistake[]
}
export type FoundRule = { readonly file: string; readonly rule: Rule; locate(field: string, message: string): FileMistake }

const RULES = /\.(ya?ml|json)$/
/** Beside the rules that they test. */
const TESTS = /\.test\.(ya?ml|json)$/
const MAX_FILES = 10_000

export function isTestFile(path: string): boolean {
  return TESTS.test(path)
}

/** A file as it is given, or those of a folder and the folders in it, in the order of their names. */
export function filesIn(path: string, wanted: (path: string) => boolean): string[] {
  if (!reading(path, () => statSync(path)).isDirectory()) return [path]
  const found = reading(path, () => readdirSync(path, { recursive: true, encoding: 'utf8', withFileTypes: true }))
  const files = found
    .filter(entry => entry.isFile() && RULES.test(entry.name) && !/(^|\/)(\.|node_modules)/.test(entry.parentPath.slice(path.length)))
    .map(entry => join(entry.parentPath, entry.name))
    .filter(wanted)
    .sort()
  if (files.length > MAX_FILES) throw new Failure('invalid', `${path}: expected at most ${MAX_FILES} files of rules`)
  return files
}

export function ruleFilesIn(path: string): string[] {
  return filesIn(path, file => !isTestFile(file))
}

export function readText(path: string): string {
  return reading(path, () => readFileSync(path, 'utf8'))
}

/** A name that stands in two of the files is a mistake in the second. */
export function readRuleFiles(files: readonly string[]): RuleFile[] {
  const owners = new Map<string, string>()
  return files.map(file => {
    const read = readRuleFile(file)
    const errors = [...read.errors]
    for (const { rule, locate } of read.rules) {
      const owner = owners.get(rule.name)
      if (owner !== undefined && owner !== file) errors.push(locate('name', `name: ${rule.name} is the name of a rule in ${owner} too`))
      owners.set(rule.name, file)
    }
    return { ...read, errors }
  })
}

function readRuleFile(file: string): RuleFile {
  const text = readText(file)
  const pieces = readDocuments(text)
  const parsed = parseDocuments(text)
  const placed = (mistake: Mistake): FileMistake => ({ ...mistake, file, text })
  const rules = parsed.flatMap(({ rule }, i): FoundRule[] => {
    const piece = pieces[i]
    return rule === undefined || piece === undefined
      ? []
      : [{ file, rule, locate: (field, message) => placed(piece.locate(field, message)) }]
  })
  return { file, text, rules, errors: parsed.flatMap(({ errors = [] }) => errors.map(placed)) }
}

/** A file that is one object, whatever it is of. */
export function readPiece(file: string): { readonly text: string; readonly piece: Piece | undefined } {
  const text = readText(file)
  return { text, piece: readDocuments(text)[0] }
}

/** `file:line:column: field: message`, the line, and a caret below the place. */
export function mistakeLines({ file, text, line, column, message }: FileMistake, palette: Palette): string[] {
  const shown = (text.split(/\r?\n/)[line - 1] ?? '').slice(0, 200)
  const caret = `${shown.slice(0, column - 1).replace(/[^\t]/g, ' ')}^`
  const head = `${palette.bold(`${printable(file)}:${line}:${column}:`)} ${palette.red(printable(message))}`
  return shown.trim() === '' ? [head] : [head, `  ${shown.split('\t').map(printable).join('\t')}`, `  ${palette.red(caret)}`]
}

function reading<T>(path: string, read: () => T): T {
  try {
    return read()
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    const reason = code === 'ENOENT' ? 'is not there' : `cannot be read (${code})`
    throw new Failure('invalid', `${path}: ${reason}`, { field: path, cause })
  }
}
