// What a command of `telltale streams` works with.
import type { Telltale } from '../../client/index.ts'
import type { TargetOptions } from '../target.ts'
import type { Terminal } from '../terminal.ts'

export type Common = TargetOptions & { readonly json?: boolean }

export type Run = {
  readonly client: Telltale
  readonly terminal: Terminal
  readonly json: boolean
  /** The document with --json, else the line. */
  print(document: unknown, line: string): Promise<void>
}
