// The words in which the promises are written: a Telltale of one's own (the real program, as it is shipped), and waiting for what it does.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt'
import { inject } from 'vitest'
import type { DeviceEvent } from '../packages/core/event.ts'
import { until } from './eventually.ts'
import { openReader, type Reader, type ReaderOptions } from './reader.ts'

export { eventually, until } from './eventually.ts'

export const ROOT = fileURLToPath(new URL('..', import.meta.url))

export type Json = Readonly<Record<string, unknown>>
/** `json` is empty when the answer is not JSON, and the last line when it is many. */
export type Answer = { readonly status: number; readonly headers: Headers; readonly text: string; readonly json: Json }
export type Ask = { readonly method?: string; readonly body?: string | Buffer; readonly headers?: Readonly<Record<string, string>> }
export type Key = { readonly keyId: string; readonly secret: string }

/** One running process of Telltale; it remembers everything it says. */
export type Program = {
  readonly pid: number
  said(): string
  complained(): string
  signal(signal: NodeJS.Signals): void
  /** To the process group, as a terminal does. */
  signalGroup(signal: NodeJS.Signals): void
  readonly ended: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>
  hasEnded(): boolean
}

export type Start = {
  readonly env?: Readonly<Record<string, string>>
  readonly roles?: readonly string[]
  /** A data directory to go on with; a new one, removed at the end, when not given. */
  readonly dir?: string
  readonly key?: Key
}

export type Telltale = {
  readonly dir: string
  readonly key: Key
  program(): Program
  url(): string
  mqttPort(): number
  http(path: string, ask?: Ask): Promise<Answer>
  /** JSON out, JSON in. */
  send(method: string, path: string, body: unknown, headers?: Record<string, string>): Promise<Answer>
  mqtt(options?: IClientOptions): Promise<MqttClient>
  stream(parameters?: string, options?: ReaderOptions): Promise<Reader>
  /** Resolves with the exit code. */
  stop(signal?: NodeJS.Signals): Promise<number | null>
  kill(): Promise<void>
  /** Starts it again on the same directory and ports. */
  restart(env?: Readonly<Record<string, string>>): Promise<void>
  /** Ends it and removes what it left. */
  remove(): Promise<void>
}

const START_LIMIT_MS = 30_000
const EXIT_LIMIT_MS = 20_000

const directories: string[] = []

export async function newDirectory(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'telltale-test-'))
  directories.push(dir)
  return dir
}

/** Removes every directory that was made here. For `afterAll`. */
export async function removeDirectories(): Promise<void> {
  for (const dir of directories.splice(0)) await rm(dir, { recursive: true, force: true, maxRetries: 3 })
}

/** Nothing of the machine's own settings; a quiet log, so that what is complained about stands out. */
function environment(dir: string, env: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(([name]) => !/^(TELLTALE_|VITEST|NODE_ENV|NODE_OPTIONS)/.test(name))
  return {
    ...Object.fromEntries(own),
    TELLTALE_DATA_DIR: dir,
    TELLTALE_HTTP_PORT: '0',
    TELLTALE_MQTT_PORT: '0',
    TELLTALE_LOG_LEVEL: 'warn',
    TELLTALE_RATE_LIMIT: 'off',
    TELLTALE_REDIS_BINARY: inject('redisBinary'),
    ...env,
  }
}

/** Starts the program and does not wait for it. */
export function run(dir: string, { env, roles = [] }: Pick<Start, 'env' | 'roles'> = {}): Program {
  return watch(
    spawn(process.execPath, ['--enable-source-maps', 'dist/services/main.js', ...roles], {
      cwd: ROOT,
      env: environment(dir, env),
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    }),
  )
}

export function watch(child: ChildProcess): Program {
  let said = ''
  let complained = ''
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    complained += text
  })
  const pid = child.pid ?? 0
  const ended = once(child, 'close').then(() => ({ code: child.exitCode, signal: child.signalCode }))
  return {
    pid,
    said: () => said,
    complained: () => complained,
    signal: name => void child.kill(name),
    signalGroup: name => void process.kill(-pid, name),
    ended,
    hasEnded: () => child.exitCode !== null || child.signalCode !== null,
  }
}

async function running(program: Program): Promise<void> {
  await until(
    'Telltale is running',
    () => {
      if (program.hasEnded()) throw new Error(`Telltale ended:\n${program.said()}${program.complained()}`)
      return program.said().includes('Telltale is running') && program.said().endsWith('\n\n')
    },
    START_LIMIT_MS,
  )
}

/** Resolves when it says that it is running. */
export async function startTelltale({ env = {}, roles = [], dir, key }: Start = {}): Promise<Telltale> {
  const home = dir ?? (await newDirectory())
  let program = run(home, { env, roles })
  await running(program)
  const http = /http:\/\/127\.0\.0\.1:(\d+)\//.exec(program.said())?.[1] ?? ''
  const mqttPort = Number(/mqtt:\/\/127\.0\.0\.1:(\d+)/.exec(program.said())?.[1] ?? 0)
  const url = `http://127.0.0.1:${http}`
  const known = key ?? (JSON.parse(await readFile(join(home, 'admin.json'), 'utf8')) as Key)
  const authorization = `Basic ${Buffer.from(`${known.keyId}:${known.secret}`).toString('base64')}`
  const call = (path: string, ask: Ask = {}) => answerOf(`${url}${path}`, { ...ask, headers: { authorization, ...ask.headers } })
  return {
    dir: home,
    key: known,
    program: () => program,
    url: () => url,
    mqttPort: () => mqttPort,
    http: call,
    send: (method, path, body, headers = {}) =>
      call(path, { method, body: JSON.stringify(body), headers: { 'content-type': 'application/json', ...headers } }),
    mqtt: options => connect(mqttPort, known, options),
    stream: (parameters = '', { path = '/v2/projects/default/devices:stream', ...options } = {}) =>
      openReader(`${url}${path}${parameters === '' ? '' : `?${parameters}`}`, {
        ...options,
        headers: { authorization, ...options.headers },
      }),
    stop: async (signal = 'SIGTERM') => {
      program.signal(signal)
      return (await exited(program)).code
    },
    kill: async () => {
      program.signal('SIGKILL')
      await program.ended
    },
    restart: async (more = {}) => {
      const ports = { TELLTALE_HTTP_PORT: http, TELLTALE_MQTT_PORT: String(mqttPort) }
      program = run(home, { env: { ...env, ...ports, ...more }, roles })
      await running(program)
    },
    remove: async () => {
      if (!program.hasEnded()) program.signal('SIGTERM')
      await exited(program)
      await rm(home, { recursive: true, force: true, maxRetries: 3 })
    },
  }
}

/** Waits for the end of a program, and says what it said when it does not come. */
export async function exited(program: Program, limitMs = EXIT_LIMIT_MS): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
  const late = new AbortController()
  const limit = pause(limitMs, undefined, { signal: late.signal }).then(
    () => {
      program.signal('SIGKILL')
      throw new Error(`still running after ${limitMs} ms:\n${program.said()}${program.complained()}`)
    },
    () => program.ended,
  )
  const end = await Promise.race([program.ended, limit])
  late.abort()
  return end
}

async function answerOf(url: string, ask: Ask): Promise<Answer> {
  const response = await fetch(url, ask)
  const text = await response.text()
  const type = response.headers.get('content-type') ?? ''
  const document = type.includes('ndjson') ? (text.trim().split('\n').at(-1) ?? '') : text
  return { status: response.status, headers: response.headers, text, json: type.includes('json') ? (JSON.parse(document) as Json) : {} }
}

function connect(port: number, { keyId, secret }: Key, options: IClientOptions = {}): Promise<MqttClient> {
  const login = { username: keyId, password: secret, reconnectPeriod: 0, connectTimeout: 10_000 }
  return mqtt.connectAsync(`mqtt://127.0.0.1:${port}`, { ...login, ...options })
}

/** The pid of the embedded Redis, which the server notes in its directory. */
export async function redisPid(dir: string): Promise<number> {
  const { server } = JSON.parse(await readFile(join(dir, 'redis/running.json'), 'utf8')) as { server: { pid: number } }
  return server.pid
}

/** Every event that the store has of a device, oldest first. */
export async function stored(telltale: Telltale, device: string): Promise<DeviceEvent[]> {
  const found: DeviceEvent[] = []
  for (let token = ''; ; ) {
    const path = `/v2/projects/default/devices/${encodeURIComponent(device)}/events`
    const query = `start_time=1970-01-01T00:00:00Z&end_time=2200-01-01T00:00:00Z&page_size=1000&page_token=${token}`
    const { status, text, json } = await telltale.http(`${path}?${query}`)
    if (status !== 200) throw new Error(`events of ${device}: ${status} ${text}`)
    found.push(...(json['events'] as DeviceEvent[]))
    token = json['nextPageToken'] as string
    if (token === '') return found.reverse()
  }
}

/** The value of a temperature event, for comparing series at a glance. */
export function temperatureOf({ data }: DeviceEvent): unknown {
  return (data as { temperature?: { value?: unknown } }).temperature?.value
}

export const EVENTS = '/v2/projects/default/events'

export const target = (device: string) => `projects/default/devices/${device}`

/** A whole event, as a device sends it. */
export const temperature = (device: string, value: unknown, more: object = {}) => ({
  targetName: target(device),
  eventType: 'temperature',
  data: { temperature: { value } },
  ...more,
})
