// What a command of `telltale rules` works with.
import type { Telltale } from '../../client/index.ts'
import type { TargetOptions } from '../target.ts'
import type { Palette, Terminal } from '../terminal.ts'
import { type FileMistake, mistakeLines, type RuleFile } from './file.ts'

export type Common = TargetOptions & { readonly json?: boolean }

/** 0 done, and there was nothing to find; 1 failed, or a mistake was found; 2 (of what only compares) there are differences. */
export type ExitCode = 0 | 1 | 2

export type Local = {
  readonly terminal: Terminal
  readonly json: boolean
  readonly palette: Palette
  say(line: string): Promise<void>
}

export type Run = Local & {
  readonly client: Telltale
}

/** All mistakes of all files. True: there were some. */
export async function sayMistakes({ say, palette, json }: Local, files: readonly Pick<RuleFile, 'errors'>[]): Promise<boolean> {
  const errors = files.flatMap(file => file.errors)
  for (const error of errors) await sayMistake({ say, palette, json }, error)
  return errors.length > 0
}

export async function sayMistake({ say, palette, json }: Pick<Local, 'say' | 'palette' | 'json'>, mistake: FileMistake): Promise<void> {
  const { text: _, ...fields } = mistake
  for (const line of json ? [JSON.stringify(fields)] : mistakeLines(mistake, palette)) await say(line)
}

export async function sayLines(run: Pick<Local, 'say'>, lines: readonly string[]): Promise<void> {
  for (const line of lines) await run.say(line)
}

export function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`
}
