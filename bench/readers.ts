// Readers of a stream as a process of their own: in C where there is a compiler, so that they are not what is measured.
import { type ChildProcessByStdio, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface, type Interface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { findExecutable } from './executable.ts'
import type { Latency } from './histogram.ts'

export type ReadersOptions = {
  readonly port: number
  readonly count: number
  /** `{}` stands for the number of the reader's group, as five digits. */
  readonly path: string
  readonly groups?: number
  /** That many stop reading after the head. */
  readonly frozen?: number
  readonly authorization?: string
}

export type Measured = { readonly frames: number; readonly latency: Latency }

const SOURCE = fileURLToPath(new URL('reader.c', import.meta.url))
const INSTEAD = fileURLToPath(new URL('reader.ts', import.meta.url))

/** The command with which readers are started; compiled once per run. */
export function readerCommand(): readonly string[] {
  const compiler = findExecutable('cc')
  if (compiler === undefined) {
    console.warn('there is no C compiler: the readers run in Node and cost more than what they measure (apt-get install gcc)')
    return [process.execPath, '--import', 'tsx', INSTEAD]
  }
  const program = join(mkdtempSync(join(tmpdir(), 'telltale-reader-')), 'reader')
  execFileSync(compiler, ['-O2', '-o', program, SOURCE])
  return [program]
}

export class Readers {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>
  readonly #lines: Interface

  private constructor(child: ChildProcessByStdio<Writable, Readable, null>) {
    this.#child = child
    this.#lines = createInterface(child.stdout)
  }

  /** Resolves when all have their heads. */
  static async open([program = '', ...args]: readonly string[], options: ReadersOptions): Promise<Readers> {
    const { port, count, path, groups = 1, frozen = 0, authorization = '-' } = options
    const told = [port, count, path, groups, frozen, authorization].map(String)
    const readers = new Readers(spawn(program, [...args, ...told], { stdio: ['pipe', 'pipe', 'inherit'] }))
    await readers.#hear()
    return readers
  }

  begin(): void {
    this.#child.stdin.write('begin\n')
  }

  async end(): Promise<Measured> {
    const { frames, p50Us, p99Us, maxUs } = JSON.parse(await this.#ask('end')) as Record<'frames' | 'p50Us' | 'p99Us' | 'maxUs', number>
    return { frames, latency: { count: frames, p50Ms: p50Us / 1000, p99Ms: p99Us / 1000, maxMs: maxUs / 1000 } }
  }

  /** Since they were opened, and what the one with the fewest got. */
  async total(): Promise<{ readonly frames: number; readonly least: number }> {
    return JSON.parse(await this.#ask('total')) as { frames: number; least: number }
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null) return
    const exit = once(this.#child, 'exit')
    this.#child.stdin.end()
    await exit
  }

  #ask(word: string): Promise<string> {
    const answer = this.#hear()
    this.#child.stdin.write(`${word}\n`)
    return answer
  }

  #hear(): Promise<string> {
    return new Promise((resolve, reject) => {
      const ended = () => reject(new Error('the readers have ended'))
      this.#child.once('exit', ended)
      this.#lines.once('line', line => {
        this.#child.off('exit', ended)
        resolve(line)
      })
    })
  }
}
