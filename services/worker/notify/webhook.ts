// The webhook channel: one POST per alarm change, signed as Standard Webhooks prescribes, so that receivers can trust and dedupe it.
import { Webhook } from 'standardwebhooks'
import { Failure } from '../../../packages/core/failure.ts'
import type { Outbound } from '../../../packages/outbound/outbound.ts'
import { newId } from '../../../packages/runtime/id.ts'
import type { OutboxEntry } from '../commit.ts'
import { sign } from '../connector/signature.ts'

/** `delivered`: the receiver has it. `retry`: it may work later. `refused`: it never will. */
export type Attempt = Told &
  ({ readonly outcome: 'delivered' | 'refused' } | { readonly outcome: 'retry'; readonly afterMs?: number | undefined })
/** For receipts: the status of the answer, and what the receiver calls what it was told, where there are such. */
type Told = { readonly detail: string; readonly status?: number; readonly providerId?: string }

/** The body: `{"type":"alarm.active","timestamp":…,"data":{alarm}}` (standardwebhooks.com, "Payload structure"). */
export function webhookBody(entry: OutboxEntry): string {
  return JSON.stringify({ type: `alarm.${entry.kind}`, timestamp: entry.alarm.updateTime, data: entry.alarm })
}

/** A channel with what was sealed of it opened: `secret` is `whsec_…`, or with the signature of DT any text. */
export type Target = {
  readonly url: string
  readonly secret: string
  readonly signature?: 'dt' | undefined
  readonly headers: Readonly<Record<string, string>>
}

/** The id is the same for every attempt of one change on one channel. */
export async function postWebhook(
  outbound: Outbound,
  { url, headers: own, ...target }: Target,
  id: string,
  entry: OutboxEntry,
  now: Date,
): Promise<Attempt> {
  const body = webhookBody(entry)
  const headers = {
    ...own,
    'webhook-id': id,
    'webhook-timestamp': String(Math.floor(now.getTime() / 1000)),
    ...signed(target, id, now, body),
    'user-agent': 'telltale',
  }
  try {
    const { status, retryAfterMs, ms } = await outbound.post(new URL(url), headers, body)
    const detail = `status ${status} after ${Math.round(ms)} ms`
    if (status >= 200 && status < 300) return { outcome: 'delivered', detail, status }
    // 410: the receiver does not want this any more. Everything else may be a mistake that somebody mends within the day.
    return status === 410 ? { outcome: 'refused', detail, status } : { outcome: 'retry', detail, status, afterMs: retryAfterMs }
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Failure ? error.cause : error
    if (cause instanceof Failure && cause.code !== 'unavailable') return { outcome: 'refused', detail: cause.message }
    return { outcome: 'retry', detail: error instanceof Error ? error.message : String(error) }
  }
}

function signed({ secret, signature }: Omit<Target, 'url' | 'headers'>, id: string, now: Date, body: string): Target['headers'] {
  if (signature === undefined) return { 'webhook-signature': new Webhook(secret).sign(id, now, body) }
  return secret === '' ? {} : { 'x-dt-signature': sign(body, secret, now.getTime(), newId()) }
}
