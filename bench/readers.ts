// Readers of a stream as processes of their own: in C where there is a compiler, so that they are not what is measured.
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
  /** A process of readers for each. */
  readonly ports: readonly number[]
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

/** As many as were asked for, on whatever processes that takes. */
export class Readers {
  readonly #parts: readonly Part[]

  private constructor(parts: readonly Part[]) {
    this.#parts = parts
  }

  /** Resolves when all have their heads. */
  static async open(command: readonly string[], { ports, count, frozen = 0, ...same }: ReadersOptions): Promise<Readers> {
    const shareOf = (i: number, all: number) => Math.floor((all * (i + 1)) / ports.length) - Math.floor((all * i) / ports.length)
    const parts = ports.map((port, i) => Part.open(command, { ...same, port, count: shareOf(i, count), frozen: shareOf(i, frozen) }))
    return new Readers(await Promise.all(parts))
  }

  begin(): void {
    for (const part of this.#parts) part.begin()
  }

  /** Latencies are those of the process where they are longest. */
  async end(): Promise<Measured> {
    const all = await Promise.all(this.#parts.map(part => part.end()))
    const frames = all.reduce((sum, one) => sum + one.frames, 0)
    const most = (of: (latency: Latency) => number) => Math.max(...all.map(({ latency }) => of(latency)))
    return {
      frames,
      latency: { count: frames, p50Ms: most(one => one.p50Ms), p99Ms: most(one => one.p99Ms), maxMs: most(one => one.maxMs) },
    }
  }

  /** Since they were opened, and what the one with the fewest got. */
  async total(): Promise<Total> {
    const all = await Promise.all(this.#parts.map(part => part.total()))
    return { frames: all.reduce((sum, { frames }) => sum + frames, 0), least: Math.min(...all.map(({ least }) => least)) }
  }

  async close(): Promise<void> {
    await Promise.all(this.#parts.map(part => part.close()))
  }
}

type PartOptions = Omit<ReadersOptions, 'ports'> & { readonly port: number }
type Total = { readonly frames: number; readonly least: number }

/** One process of them. */
class Part {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>
  readonly #lines: Interface

  private constructor(child: ChildProcessByStdio<Writable, Readable, null>) {
    this.#child = child
    this.#lines = createInterface(child.stdout)
  }

  static async open([program = '', ...args]: readonly string[], options: PartOptions): Promise<Part> {
    const { port, count, path, groups = 1, frozen = 0, authorization = '-' } = options
    const told = [port, count, path, groups, frozen, authorization].map(String)
    const readers = new Part(spawn(program, [...args, ...told], { stdio: ['pipe', 'pipe', 'inherit'] }))
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

  async total(): Promise<Total> {
    return JSON.parse(await this.#ask('total')) as Total
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
