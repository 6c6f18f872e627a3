// One InfluxDB server, of any major version, through its own client library: lines in, InfluxQL out. `influx.ts` is the store.
import { Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import { HttpError, InfluxDB } from '@influxdata/influxdb-client'
import { Failure } from '../core/failure.ts'

export type InfluxSettings = {
  readonly url: string
  /** InfluxDB 2 and 3, or 1.8 with `username:password`. */
  readonly token?: string | undefined
  readonly org?: string | undefined
  readonly bucket?: string | undefined
  /** InfluxDB 1; created when missing. */
  readonly database?: string | undefined
  readonly username?: string | undefined
  readonly password?: string | undefined
  readonly timeoutMs?: number | undefined
}

export type InfluxSeries = {
  readonly name: string
  readonly tags?: { readonly device?: string; readonly n?: string }
  readonly values: readonly (readonly unknown[])[]
}
type InfluxResult = { readonly series?: readonly InfluxSeries[]; readonly error?: string; readonly partial?: boolean }
type Paths = { readonly write: string; readonly query: string }

const FORM = { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json' }
// Unlike SHOW, it fails when the database is missing.
const PROBE = 'SELECT "_id" FROM "_probe" LIMIT 1'
const NO_DATABASE = /database not found/
// The words by which the versions say that single lines are at fault: the others are stored (1.x, 3.x) or refused with them (2.x).
const BAD_LINES = /partial write|unable to parse|beyond retention|outside retention|failure writing points|field type conflict/i
const LOCAL = /^(localhost|127\.|\[?::1)/

/** The answer to `write` when single lines are at fault; others of the same write may be stored. */
export class BadLines extends Error {}

export class InfluxClient {
  readonly #settings: InfluxSettings
  readonly #influx: InfluxDB
  readonly #agent: HttpAgent
  readonly #gzipThreshold: number
  #paths: Promise<Paths> | undefined

  constructor(settings: InfluxSettings) {
    this.#settings = settings
    const url = checkedUrl(settings)
    this.#agent = url.protocol === 'https:' ? new HttpsAgent({ keepAlive: true }) : new HttpAgent({ keepAlive: true })
    // On the same machine packing costs more than it saves.
    this.#gzipThreshold = LOCAL.test(url.hostname) ? Number.MAX_SAFE_INTEGER : 1000
    const { token, username, password = '', timeoutMs = 10_000 } = settings
    const basic = username === undefined ? undefined : `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`
    this.#influx = new InfluxDB({
      url: settings.url,
      timeout: timeoutMs,
      transportOptions: { agent: this.#agent },
      ...(token === undefined ? {} : { token }),
      ...(basic === undefined ? {} : { headers: { authorization: basic } }),
    })
  }

  /** Resolves when all lines are durable; rejects with `BadLines` or a Failure. */
  async write(lines: string[]): Promise<void> {
    const { write } = await this.#connected()
    // One WriteApi per write: its retries and its flushes in the background lose lines without a word.
    const api = this.#influx.getWriteApi('', '', 'ns', {
      batchSize: lines.length + 1,
      maxBatchBytes: Number.MAX_SAFE_INTEGER,
      flushInterval: 0,
      maxRetries: 0,
      gzipThreshold: this.#gzipThreshold,
      writeFailed: error => Promise.reject(error),
    })
    api.path = write
    try {
      api.writeRecords(lines)
      await api.flush()
    } catch (cause) {
      if (isAboutLines(cause)) throw new BadLines(messageOf(cause), { cause })
      throw this.#translated(cause)
    } finally {
      api.dispose()
    }
  }

  /** The series of each statement, in the order of the statements. */
  async query(statements: readonly string[]): Promise<(readonly InfluxSeries[])[]> {
    const { query } = await this.#connected()
    const results = await this.#ask(query, statements)
    return results.map(({ series, error, partial }) => {
      if (error !== undefined) throw this.#translated(new Error(error))
      if (partial) throw new Failure('setup', 'InfluxDB cuts its answers: set max-row-limit in its configuration to 0')
      return series ?? []
    })
  }

  async ping(): Promise<void> {
    this.#paths = undefined
    await this.#connected()
  }

  close(): void {
    this.#agent.destroy()
  }

  /** Finds out which version answers and makes sure of the database; again after a failure. */
  #connected(): Promise<Paths> {
    this.#paths ??= this.#connect().catch(cause => {
      this.#paths = undefined
      throw this.#translated(cause)
    })
    return this.#paths
  }

  async #connect(): Promise<Paths> {
    const { database, bucket = '', org = '' } = this.#settings
    const name = database ?? bucket
    const query = `/query?db=${encodeURIComponent(name)}`
    const old = database !== undefined || (await this.#version()).startsWith('1.')
    const [probe] = await this.#ask(query, [PROBE])
    if (probe?.error !== undefined) {
      if (!old || !NO_DATABASE.test(probe.error)) throw new Failure('setup', `InfluxDB refuses "${name}": ${probe.error}`)
      const [created] = await this.#ask(query, [`CREATE DATABASE "${name}"`])
      if (created?.error !== undefined) throw new Failure('setup', `InfluxDB cannot create the database "${name}": ${created.error}`)
    }
    if (old) return { query, write: `/write?db=${encodeURIComponent(name)}&precision=ns` }
    return { query, write: `/api/v2/write?org=${encodeURIComponent(org)}&bucket=${encodeURIComponent(name)}&precision=ns` }
  }

  async #version(): Promise<string> {
    let version = ''
    await this.#influx.transport.request('/ping', '', { method: 'GET' }, headers => {
      version = String(headers['x-influxdb-version'] ?? '').replace(/^v/, '')
    })
    return version
  }

  async #ask(path: string, statements: readonly string[]): Promise<readonly InfluxResult[]> {
    const body = `q=${encodeURIComponent(statements.join(';'))}`
    // Not `transport.request`, which copies all it has with every part that comes.
    const text = await new Promise<string>((resolve, reject) => {
      const parts: Uint8Array[] = []
      this.#influx.transport.send(
        path,
        body,
        { method: 'POST', headers: FORM },
        {
          next: part => {
            parts.push(part)
          },
          complete: () => resolve(Buffer.concat(parts).toString()),
          error: reject,
        },
      )
    }).catch(cause => {
      throw this.#translated(cause)
    })
    const { results, error } = JSON.parse(text) as { results?: InfluxResult[]; error?: string }
    if (results === undefined) throw this.#translated(new Error(error ?? 'an answer without results'))
    return results
  }

  #translated(cause: unknown): unknown {
    if (cause instanceof Failure || cause instanceof TypeError || cause instanceof RangeError) return cause
    const message = `InfluxDB at ${new URL(this.#settings.url).host}: ${messageOf(cause)}`
    if (NO_DATABASE.test(message)) this.#paths = undefined
    else if (cause instanceof HttpError && isRefusal(cause.statusCode)) return new Failure('setup', refusal(message, cause), { cause })
    const retryAfterMs = cause instanceof HttpError ? retryAfter(cause) : undefined
    return new Failure('unavailable', message, retryAfterMs === undefined ? { cause } : { cause, retryAfterMs })
  }
}

function checkedUrl({ url, bucket, database }: InfluxSettings): URL {
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol))
    throw new Failure('setup', 'TELLTALE_INFLUX_URL: expected an http or https URL')
  const name = database ?? bucket ?? ''
  if (name === '' || /["\\\n]/.test(name))
    throw new Failure('setup', 'TELLTALE_INFLUX_BUCKET or TELLTALE_INFLUX_DATABASE: expected a name without quotes and backslashes')
  return new URL(url)
}

function isAboutLines(cause: unknown): boolean {
  if (!(cause instanceof HttpError)) return false
  return cause.statusCode === 413 || ((cause.statusCode === 400 || cause.statusCode === 422) && BAD_LINES.test(messageOf(cause)))
}

/** Milliseconds. The client's own `retryAfter()` answers seconds, or milliseconds when the header is a date. */
function retryAfter({ headers }: HttpError): number | undefined {
  const value = String(headers?.['retry-after'] ?? '')
  return /^\d+$/.test(value) ? Number(value) * 1000 : undefined
}

function isRefusal(status: number): boolean {
  return status >= 300 && status < 500 && status !== 408 && status !== 429
}

function refusal(message: string, { statusCode }: HttpError): string {
  if (statusCode !== 401 && statusCode !== 403) return message
  return `${message}: check TELLTALE_INFLUX_TOKEN, or TELLTALE_INFLUX_USERNAME and TELLTALE_INFLUX_PASSWORD`
}

function messageOf(cause: unknown): string {
  if (cause instanceof HttpError)
    return cause.body && !cause.message.includes(cause.body) ? `${cause.message} ${cause.body}` : cause.message
  // An AggregateError of connection attempts has no message of its own.
  if (cause instanceof Error) return cause.message || ('code' in cause ? String(cause.code) : cause.name)
  return String(cause)
}
