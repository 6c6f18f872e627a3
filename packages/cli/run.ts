// What a command works with that asks the server: the client, the terminal, tables for people or one JSON document a line with --json.
import type { Command } from 'commander'
import type { Telltale } from '../client/index.ts'
import { explained, openClient } from './api.ts'
import { addLoginOptions } from './option.ts'
import { type Cell, tableLines } from './table.ts'
import { resolveTarget, type TargetOptions } from './target.ts'
import { paletteOf, type Terminal, writeLine } from './terminal.ts'

export type Common = TargetOptions & { readonly json?: boolean }

export type Run = {
  readonly client: Telltale
  readonly terminal: Terminal
  readonly json: boolean
  /** The document with --json, else the line. */
  print(document: unknown, line: string): Promise<void>
}

/** `what` is asked for, in words for an error. */
export type Start = (what: string, options: Common, work: (run: Run) => Promise<void>) => Promise<void>

/** A command below another, with the options that all of them have. */
export function addSub(command: Command, name: string, description: string): Command {
  return addLoginOptions(command.command(name).description(description))
    .option('--http <url>', 'the server (else TELLTALE_HTTP_URL, else http://127.0.0.1:8080)')
    .option('--json', 'print JSON, one document a line')
}

export async function runWith(terminal: Terminal, what: string, options: Common, work: (run: Run) => Promise<void>): Promise<void> {
  const target = resolveTarget(options, terminal.env)
  const client = openClient(target)
  const json = options.json === true
  const print = (document: unknown, line: string) => writeLine(terminal.out, json ? JSON.stringify(document) : line)
  try {
    await work({ client, terminal, json, print })
  } catch (error) {
    throw explained(target, what, error)
  } finally {
    await client.close()
  }
}

export async function printTable({ out, env }: Terminal, headings: readonly string[], rows: readonly (readonly Cell[])[]): Promise<void> {
  for (const line of tableLines(headings, rows, paletteOf(out, env))) await writeLine(out, line)
}
