// One attempt to push one event: the body, its headers, and what the receiver made of it.
import type { Device } from '../../../packages/core/device.ts'
import { asciiJson } from '../../../packages/core/json.ts'
import type { Outbound } from '../../../packages/outbound/outbound.ts'
import type { Connector } from '../../../packages/state/connector.ts'
import { sign } from './signature.ts'

/** What was sealed of a connector, opened; no secret: not signed. */
export type Target = { readonly url: URL; readonly secret: string; readonly headers: Readonly<Record<string, string>> }

export type Outcome = {
  /** The receiver has it. */
  readonly ok: boolean
  /** It is there and will not have this event; of others it may think otherwise. */
  readonly refused: boolean
  readonly ms: number
  readonly detail: string
  readonly retryAfterMs: number | undefined
}

/** Answers about what was sent. All others may be about the receiver: where it is, who may call, how much it can do. */
const REFUSALS: ReadonlySet<number> = new Set([400, 406, 409, 413, 415, 422])

/** @param frame the event as JSON, which stands in the body as it is. @param device undefined: it is gone meanwhile. */
export function bodyOf(
  project: string,
  { labels: wanted }: Pick<Connector, 'labels'>,
  id: string,
  device: Device | undefined,
  frame: string,
) {
  const known = device?.labels ?? {}
  const labels = Object.fromEntries(wanted.filter(key => Object.hasOwn(known, key)).map(key => [key, known[key]]))
  const metadata = { deviceId: id, projectId: project, deviceType: device?.type ?? '', productNumber: device?.productNumber ?? '' }
  return `{"event":${frame},"labels":${asciiJson(labels)},"metadata":${asciiJson(metadata)}}`
}

/** Any 2xx acknowledges, anything else does not (contracts.md 1.a.9); redirects are not followed. */
export async function attempt(
  outbound: Outbound,
  { url, secret, headers: own }: Target,
  body: string,
  nowMs: number,
  id: string,
  signal: AbortSignal,
): Promise<Outcome> {
  const headers = { ...own, 'user-agent': 'telltale', ...(secret === '' ? {} : { 'x-dt-signature': sign(body, secret, nowMs, id) }) }
  const started = performance.now()
  try {
    const { status, ms, retryAfterMs } = await outbound.post(url, headers, body, signal)
    const detail = `status ${status} after ${Math.round(ms)} ms`
    return { ok: status >= 200 && status < 300, refused: REFUSALS.has(status), ms, detail, retryAfterMs }
  } catch (error) {
    const detail = error instanceof Error ? error.message : String(error)
    return { ok: false, refused: false, ms: performance.now() - started, detail, retryAfterMs: undefined }
  }
}
