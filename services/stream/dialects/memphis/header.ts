// Headers of a request that become properties of its messages: all but credentials and what is of the connection (contracts.md 3.a.4).
import { isUtf8 } from 'node:buffer'
import type { IncomingHttpHeaders } from 'node:http'
import { invalid } from '../../../../packages/core/failure.ts'

const MAX_HEADERS = 64
/** Nobody who reads the station is to come by somebody's credentials, nor by where they are: the address may hold a token. */
const KEPT_BACK: ReadonlySet<string> = new Set([
  'authorization',
  'proxy-authorization',
  'cookie',
  'x-api-key',
  'x-goog-iap-jwt-assertion',
  'cf-access-jwt-assertion',
  'x-original-url',
  'x-original-uri',
  'x-rewrite-url',
  'referer',
  'forwarded',
  'via',
  'x-real-ip',
  'x-client-ip',
  'x-cluster-client-ip',
  'true-client-ip',
  'fastly-client-ip',
  'cf-connecting-ip',
  'cf-connecting-ipv6',
  'connection',
  'content-length',
  'expect',
  'http2-settings',
  'host',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])
const OF_PROXIES = /^(x-forwarded-|x-auth-request-|x-amzn-oidc-)/
/** Of HTTP/2: what is the first line of a request elsewhere. */
const PSEUDO = /^:/
const RESERVED = /^\$memphis/i

export function propertiesOf(headers: IncomingHttpHeaders): Record<string, string> {
  const kept = Object.entries(headers).filter(([name]) => !KEPT_BACK.has(name) && !OF_PROXIES.test(name) && !PSEUDO.test(name))
  if (kept.length > MAX_HEADERS) throw invalid('headers', `at most ${MAX_HEADERS}`)
  return Object.fromEntries(
    kept.map(([name, value]) => {
      if (RESERVED.test(name)) throw invalid('headers', 'keys in headers should not start with $memphis')
      return [canonical(name), decoded(String(value))]
    }),
  )
}

/** Node reads each byte as a character; what was UTF-8 is it again. */
function decoded(value: string): string {
  const bytes = Buffer.from(value, 'latin1')
  return isUtf8(bytes) ? bytes.toString('utf8') : value
}

/** `content-type` → `Content-Type`: as the original writes them, and its clients look for them. */
function canonical(name: string): string {
  return name.replace(/(^|-)[a-z]/g, start => start.toUpperCase())
}
