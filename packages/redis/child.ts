// One run of the embedded Redis program: dies with us whatever happens to us, outlives a Ctrl-C, and remembers its last words.
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { identify, type ProcessIdentity } from './process.ts'

export type ChildEnd = { readonly exitCode: number | null; readonly signal: NodeJS.Signals | null; readonly lastWords: readonly string[] }

export type Child = {
  readonly identity: ProcessIdentity
  /** Never rejects: a program that cannot be run has ended too. */
  readonly ended: Promise<ChildEnd>
  /** Undefined while it runs. */
  end(): ChildEnd | undefined
  kill(signal: NodeJS.Signals): void
}

/** How a child is made to die with us. */
export type Leash = 'setpriv' | 'watcher'

const run = promisify(execFile)
const LAST_WORDS = 12
const LAST_WORDS_MS = 50

/** Linux with util-linux: the kernel does it. Elsewhere (macOS, BusyBox) a shell waits for the end of a pipe that we hold. */
export async function chooseLeash(): Promise<Leash> {
  return run('setpriv', ['--pdeathsig', 'TERM', 'true']).then(
    () => 'setpriv',
    () => 'watcher',
  )
}

/**
 * `detached` gives it a process group of its own: the terminal sends Ctrl-C to the whole foreground group, and Redis must
 * live until we have drained. The parent-death signal belongs to the *thread* that spawns: call this on the main thread.
 */
export function launch(leash: Leash, command: readonly [string, ...string[]], serverArgs: readonly string[], cwd: string): Child {
  const [program, ...before] = leash === 'setpriv' ? (['setpriv', '--pdeathsig', 'TERM', ...command] as const) : command
  const child = spawn(program, [...before, ...serverArgs], { cwd, detached: true, stdio: ['ignore', 'pipe', 'pipe'] })
  const words: string[] = []
  for (const stream of [child.stdout, child.stderr]) remember(stream, words)
  const pid = child.pid
  const stopWatching = leash === 'watcher' && pid !== undefined ? watch(pid) : () => {}
  let end: ChildEnd | undefined
  const ended = endOf(child, words).then(result => {
    stopWatching()
    end = result
    return result
  })
  return { identity: identify(pid ?? 0), ended, end: () => end, kill: signal => void child.kill(signal) }
}

function remember(stream: Readable, words: string[]): void {
  createInterface({ input: stream }).on('line', line => {
    words.push(line)
    if (words.length > LAST_WORDS) words.shift()
  })
}

/**
 * `exit` and not `close`: a rewriting fork of a killed Redis holds its pipes open for a while. `error` stands in its place when
 * the program cannot be run, and may follow a failed kill.
 */
function endOf(child: ChildProcess, lastWords: string[]): Promise<ChildEnd> {
  const closed = new Promise<void>(done => child.once('close', () => done()))
  return new Promise(resolve => {
    child.on('error', error => {
      lastWords.push(String(error))
      if (child.pid === undefined) resolve({ exitCode: null, signal: null, lastWords })
    })
    child.once('exit', (exitCode, signal) => {
      resolve(Promise.race([closed, delay(LAST_WORDS_MS, undefined, { ref: false })]).then(() => ({ exitCode, signal, lastWords })))
    })
  })
}

function watch(pid: number): () => void {
  const watcher = spawn('/bin/sh', ['-c', 'read -r _; kill -TERM "$1"', 'sh', String(pid)], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  return () => void watcher.kill('SIGKILL')
}
