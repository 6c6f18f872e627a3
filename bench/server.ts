// A real Telltale as a child process: own data directory, free ports, started, killed and started again.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Login } from './wire.ts'

export type ServerOptions = {
  readonly env?: Readonly<Record<string, string>>
  /** More flags for node, such as `--cpu-prof`. */
  readonly flags?: readonly string[]
  /** Only these, where several processes share one Redis; the settings then hold the first key. */
  readonly roles?: readonly string[]
}

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const READY_LIMIT_MS = 30_000
const STOP_LIMIT_MS = 20_000
const LAST_WORDS = 4000

export class Server {
  readonly dataDir: string
  readonly #options: ServerOptions
  #child: ChildProcess | undefined
  #ports = { http: 0, mqtt: 0 }
  #login: Login = { user: '', password: '' }
  #words = ''

  private constructor(dataDir: string, options: ServerOptions) {
    this.dataDir = dataDir
    this.#options = options
  }

  static async start(options: ServerOptions): Promise<Server> {
    const server = new Server(await mkdtemp(join(tmpdir(), 'telltale-bench-')), options)
    await server.restart()
    return server
  }

  get pid(): number {
    return this.#child?.pid ?? 0
  }

  get httpPort(): number {
    return this.#ports.http
  }

  get mqttPort(): number {
    return this.#ports.mqtt
  }

  get login(): Login {
    return this.#login
  }

  get authorization(): string {
    return `Basic ${Buffer.from(`${this.#login.user}:${this.#login.password}`).toString('base64')}`
  }

  /** How the last process is doing, with what it wrote at the end. */
  get state(): string {
    const { exitCode = null, signalCode = null } = this.#child ?? {}
    const ended = exitCode === null && signalCode === null ? 'running' : `ended by ${signalCode ?? `exit code ${exitCode}`}`
    return `process ${this.pid} ${ended}; it said:\n${this.#words}`
  }

  /** Starts it on the same data and, after the first time, the same ports; resolves when it serves. */
  async restart(): Promise<void> {
    const env = {
      ...process.env,
      TELLTALE_DATA_DIR: this.dataDir,
      TELLTALE_HTTP_PORT: String(this.#ports.http),
      TELLTALE_MQTT_PORT: String(this.#ports.mqtt),
      TELLTALE_WEBHOOK_ALLOW_PRIVATE: 'true',
      TELLTALE_LOG_LEVEL: 'warn',
      TELLTALE_RATE_LIMIT: 'off',
      ...this.#options.env,
    }
    this.#words = ''
    const command = [...(await startFlags()), ...(this.#options.flags ?? []), 'dist/services/main.js', ...(this.#options.roles ?? [])]
    const child = spawn(process.execPath, command, { cwd: ROOT, env, stdio: ['ignore', 'pipe', 'pipe'] })
    this.#child = child
    // A server must not outlive a benchmark that failed.
    const last = () => void child.kill('SIGKILL')
    process.once('exit', last)
    child.once('exit', () => process.off('exit', last))
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', part => {
        this.#words = `${this.#words}${part}`.slice(-LAST_WORDS)
      })
    await this.#ready(child)
    this.#login = await this.#firstKey(env)
  }

  async #firstKey(env: Readonly<Record<string, string | undefined>>): Promise<Login> {
    const { TELLTALE_ADMIN_KEY_ID: user, TELLTALE_ADMIN_SECRET: password } = env
    if (user !== undefined && password !== undefined) return { user, password }
    const { keyId, secret } = JSON.parse(await readFile(join(this.dataDir, 'admin.json'), 'utf8')) as { keyId: string; secret: string }
    return { user: keyId, password: secret }
  }

  async #ready(child: ChildProcess): Promise<void> {
    const deadline = performance.now() + READY_LIMIT_MS
    const hasMqtt = this.#options.roles?.includes('gateway') ?? true
    for (;;) {
      const [, http] = /(?:console|http {3}) {2}http:\/\/\S+:(\d+)\//.exec(this.#words) ?? []
      const [, mqtt] = /mqtt {5}mqtt:\/\/\S+:(\d+)\n/.exec(this.#words) ?? []
      if (http !== undefined && (mqtt !== undefined || !hasMqtt)) {
        this.#ports = { http: Number(http), mqtt: Number(mqtt ?? 0) }
        return
      }
      if (child.exitCode !== null || child.signalCode !== null || performance.now() > deadline)
        throw new Error(`Telltale did not start:\n${this.#words}`)
      await new Promise(resolve => setTimeout(resolve, 5))
    }
  }

  async request<T>(method: string, path: string, body?: unknown): Promise<T> {
    const response = await fetch(`http://127.0.0.1:${this.httpPort}/v2/projects/default/${path}`, {
      method,
      headers: { authorization: this.authorization, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const text = await response.text()
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text.slice(0, 300)}`)
    return JSON.parse(text) as T
  }

  /** The counters and gauges of `/metrics`, by name with labels. */
  async metrics(): Promise<Record<string, number>> {
    const text = await (await fetch(`http://127.0.0.1:${this.httpPort}/metrics`, { headers: { authorization: this.authorization } })).text()
    return Object.fromEntries([...text.matchAll(/^(telltale_\S+) (\S+)$/gm)].map(([, name, value]) => [name, Number(value)]))
  }

  /** SIGKILL to this process alone; what it started ends by itself. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL')
  }

  /** Ends it and removes its data. */
  async stop(): Promise<void> {
    await this.#end('SIGTERM')
    await rm(this.dataDir, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const exit = once(child, 'exit')
    child.kill(signal)
    const forced = setTimeout(() => child.kill('SIGKILL'), STOP_LIMIT_MS)
    await exit
    clearTimeout(forced)
  }
}

/** The flags of `npm start`, so that what is measured is what people run. */
async function startFlags(): Promise<string[]> {
  const { scripts } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as { scripts: Record<string, string> }
  return (scripts['start'] ?? '').split(' ').filter(word => word.startsWith('--'))
}
