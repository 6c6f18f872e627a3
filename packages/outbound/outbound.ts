// Calls to other people's servers: only to addresses that are allowed, bounded in time and size, redirects not followed (hazards 23-26).
import type { LookupAddress } from 'node:dns'
import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'
import { Agent, request } from 'undici'
import { Failure, invalid } from '../core/failure.ts'
import { Names } from './name.ts'

/** `all`, or networks in CIDR notation that may be called besides public addresses. */
export type Allowed = 'all' | readonly string[]

export type Answer = { readonly status: number; readonly retryAfterMs: number | undefined; readonly body: string; readonly ms: number }

const TIMEOUT_MS = 15_000
const MAX_BODY_BYTES = 64 * 1024

/** Where calls without TLS may go: anywhere, or only to what `Allowed` names. */
export type Plain = 'anywhere' | 'allowed'

export class Outbound {
  readonly #allowed: Allowed
  readonly #timeoutMs: number
  readonly #plain: Plain
  readonly #names: Names
  readonly #agents: { readonly http: Agent; readonly https: Agent }

  /** @param names best one for all of a process. */
  constructor(allowed: Allowed, timeoutMs = TIMEOUT_MS, plain: Plain = 'anywhere', names = new Names()) {
    this.#allowed = allowed
    this.#timeoutMs = timeoutMs
    this.#plain = plain
    this.#names = names
    this.#agents = { http: this.#agent(address => this.#permitsPlain(address)), https: this.#agent(address => this.#permits(address)) }
  }

  /** The address is checked where it is used: what a name resolves to at this moment is what is connected to (rebinding). */
  #agent(permits: (address: string) => boolean): Agent {
    return new Agent({
      connect: {
        timeout: this.#timeoutMs,
        lookup: (host, options, done) => {
          this.#names.addresses(host).then(
            found => choose(permits, host, found, options.all === true, done),
            (error: Error) => done(error, '', 0),
          )
        },
      },
      headersTimeout: this.#timeoutMs,
      bodyTimeout: this.#timeoutMs,
      pipelining: 1,
    })
  }

  /** @throws Failure `invalid` for a URL that could never be called; names are checked again when called. */
  checkUrl(text: string, field: string): URL {
    if (!URL.canParse(text)) throw invalid(field, 'expected a URL such as https://example.com/hook')
    const url = new URL(text)
    if (url.protocol !== 'https:' && url.protocol !== 'http:') throw invalid(field, `expected http or https, got ${url.protocol}`)
    if (url.username !== '' || url.password !== '') throw invalid(field, 'expected no user or password in the URL: use headers')
    const host = url.hostname.replace(/^\[|\]$/g, '')
    if (isIP(host) !== 0 && !this.#permits(host)) throw invalid(field, refusal(host))
    if (url.protocol === 'http:' && !this.#mayBePlain(host)) throw invalid(field, PLAIN_REFUSED)
    return url
  }

  /** Posts and reads at most 64 KiB of the answer. Rejects when there is no answer, or `abort` says so; any status is an answer. */
  async post(url: URL, headers: Readonly<Record<string, string>>, body: string, abort?: AbortSignal): Promise<Answer> {
    this.checkUrl(url.href, 'url')
    const started = performance.now()
    const timeout = AbortSignal.timeout(this.#timeoutMs)
    const signal = abort ? AbortSignal.any([timeout, abort]) : timeout
    const answer = await request(url, {
      method: 'POST',
      headers: { ...headers, 'content-type': 'application/json' },
      body,
      dispatcher: url.protocol === 'http:' ? this.#agents.http : this.#agents.https,
      signal,
    })
    const text = await readBounded(answer.body, signal)
    return {
      status: answer.statusCode,
      retryAfterMs: retryAfter(answer.headers['retry-after']),
      body: text,
      ms: performance.now() - started,
    }
  }

  async close(): Promise<void> {
    await Promise.all([this.#agents.http.destroy(), this.#agents.https.destroy()])
  }

  #permits(address: string): boolean {
    if (this.#isNamed(address)) return true
    const parsed = ipaddr.process(address)
    return parsed.range() === 'unicast' && !isFourInSix(parsed)
  }

  #permitsPlain(address: string): boolean {
    return this.#plain === 'anywhere' ? this.#permits(address) : this.#isNamed(address)
  }

  /** What a name resolves to is not known before it is called. */
  #mayBePlain(host: string): boolean {
    return this.#plain === 'anywhere' || (isIP(host) === 0 ? this.#allowed.length > 0 : this.#isNamed(host))
  }

  #isNamed(address: string): boolean {
    if (this.#allowed === 'all') return true
    const parsed = ipaddr.process(address)
    return this.#allowed.some(network => {
      const [base, bits] = ipaddr.parseCIDR(network)
      return base.kind() === parsed.kind() && parsed.match([base, bits])
    })
  }
}

function choose(permits: (address: string) => boolean, host: string, found: readonly LookupAddress[], all: boolean, done: Done): void {
  const permitted = found.filter(({ address }) => permits(address))
  const [first] = permitted
  if (!first) done(new Failure('forbidden', refusal(host)), '', 0)
  else if (all) done(null, permitted)
  else done(null, first.address, first.family)
}

const PLAIN_REFUSED = 'expected https; TELLTALE_WEBHOOK_ALLOW_PRIVATE can allow http for its hosts (true, or a list of networks)'

/** `::127.0.0.1`: an old spelling of IPv4 addresses, in which no public server has ever been. */
function isFourInSix(address: ipaddr.IPv4 | ipaddr.IPv6): boolean {
  return address.kind() === 'ipv6' && address.match(ipaddr.parseCIDR('::/96'))
}

type Done = (error: Error | null, address: string | { address: string; family: number }[], family?: number) => void

function refusal(host: string): string {
  return `${host} is not a public address; TELLTALE_WEBHOOK_ALLOW_PRIVATE can allow it (true, or a list of networks)`
}

/** What came in time of as much as we care to read: the status has been said, so a body that does not end changes nothing. */
async function readBounded(body: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<string> {
  const chunks: Uint8Array[] = []
  let size = 0
  try {
    for await (const chunk of body) {
      chunks.push(chunk)
      size += chunk.length
      if (size > MAX_BODY_BYTES) break
    }
  } catch (error) {
    if (!signal.aborted) throw error
  }
  return Buffer.concat(chunks).toString('utf8').slice(0, MAX_BODY_BYTES)
}

/** `true`, `false`, or networks separated by commas. */
export function parseAllowed(text: string): Allowed {
  if (text === 'true') return 'all'
  if (text === 'false' || text === '') return []
  const networks = text.split(',').map(part => part.trim())
  for (const network of networks)
    if (!ipaddr.isValidCIDR(network))
      throw new Failure('setup', `TELLTALE_WEBHOOK_ALLOW_PRIVATE: expected true, false or networks such as 10.0.0.0/8, got ${network}`)
  return networks
}

/** Seconds, or a date (RFC 9110 §10.2.3). */
function retryAfter(value: string | string[] | undefined): number | undefined {
  if (typeof value !== 'string') return undefined
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now()
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined
}
