// Frames of the WebSockets, both ways (contracts.md 2.a.3).
import { Failure, invalid } from '../../../../packages/core/failure.ts'
import { checkTime, formatTime } from '../../../../packages/core/time.ts'
import { checkMessage, formatMessageId, type Message, type NewMessage } from '../../../../packages/log/durable/message.ts'
import type { StreamRecord } from '../../../../packages/log/durable/stream.ts'

/** Pulsar's; RFC 6455 has no room for them, so a socket is closed with 4000 and the number (contracts.md 7, row 14). */
export const FAULTS = {
  1: 'Failed to create producer',
  2: 'Failed to subscribe',
  3: 'Failed to de-serialize from JSON',
  5: 'Client is not authenticated',
  6: 'Client is not authorized',
  7: 'Invalid payload encoding',
  8: 'Unknown error',
} as const
export type Fault = keyof typeof FAULTS

/** Comes back as it was sent. */
export type Context = string | number | boolean | undefined

/** What a producer sent, or why it is not taken. */
export type Sent = { readonly context: Context } & ({ readonly message: NewMessage } | { readonly fault: Fault; readonly reason: string })

const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/

/** Padding may be left out, as most decoders have it; nothing else may be otherwise. */
function isBase64(text: string): boolean {
  if (!BASE64.test(text)) return false
  const at = text.indexOf('=')
  return at < 0 ? text.length % 4 !== 1 : text.length % 4 === 0
}

export function parseSent(text: string, producer: string): Sent {
  let fault: Fault = 3
  let context: Context
  try {
    const fields = parseObject(text)
    const said = scalar(fields, 'context')
    const [key = '', properties] = [scalar(fields, 'key'), propertiesOf(fields['properties'])]
    fault = 7
    context = said
    const { payload, eventTime } = fields
    if (typeof payload !== 'string' || !isBase64(payload)) throw invalid('payload', 'expected base64')
    const eventTimeUs = eventTime === undefined || eventTime === null ? undefined : checkTime(eventTime, 'eventTime')
    const named = key === '' ? {} : { key: String(key) }
    const message = { ...named, payload: Buffer.from(payload, 'base64'), properties, eventTimeUs, producer }
    checkMessage(message)
    return { context, message }
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    return { context, fault: error.code === 'too_large' ? 8 : fault, reason: error.message }
  }
}

export type Command =
  | { readonly type: 'ack' | 'nack'; readonly messageId: string }
  | { readonly type: 'permit'; readonly messages: number }
  | { readonly type: 'unsubscribe' | 'isEndOfTopic' }

/** Throws Failure `invalid` for what is no command. */
export function parseCommand(text: string): Command {
  const fields = parseObject(text)
  const type = fields['type'] ?? undefined
  if (type === 'unsubscribe' || type === 'isEndOfTopic') return { type }
  if (type === 'permit') {
    const messages = fields['permitMessages']
    if (typeof messages !== 'number' || !Number.isSafeInteger(messages) || messages < 0)
      throw invalid('permitMessages', 'expected a whole number')
    return { type, messages }
  }
  if (type !== undefined && type !== 'negativeAcknowledge') throw invalid('type', 'unknown command')
  const { messageId } = fields
  if (typeof messageId !== 'string' || messageId === '' || !isBase64(messageId)) throw invalid('messageId', 'expected base64')
  return { type: type === undefined ? 'ack' : 'nack', messageId }
}

function parseObject(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    throw new Failure('invalid', `not JSON: ${error.message}`, { cause: error })
  }
  throw new Failure('invalid', 'not a JSON object')
}

function scalar(fields: Readonly<Record<string, unknown>>, name: string): Context {
  const value = fields[name] ?? undefined
  if (value === undefined || typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return value
  throw invalid(name, 'expected a string')
}

/** Values that are no texts become such, as the decoder does that clients know. */
function propertiesOf(value: unknown): Readonly<Record<string, string>> | undefined {
  if (value === undefined || value === null) return undefined
  if (typeof value !== 'object' || Array.isArray(value)) throw invalid('properties', 'expected an object of strings')
  const fields = value as Readonly<Record<string, unknown>>
  return Object.fromEntries(Object.keys(fields).map(name => [name, String(scalar(fields, name) ?? '')]))
}

export function okFrame(messageId: string, context: Context): string {
  return JSON.stringify({ result: 'ok', messageId, context })
}

export function faultFrame(fault: Fault, errorMsg: string, context: Context): string {
  return JSON.stringify({ result: `send-error:${fault}`, errorMsg, context })
}

/** What consumers and readers get. */
export function messageFrame(record: StreamRecord, message: Message, redeliveryCount: number): string {
  const { seq, payload, properties, publishMs, key, eventTimeUs } = message
  return JSON.stringify({
    messageId: formatMessageId(record, seq),
    payload: payload.toString('base64'),
    properties,
    publishTime: withOffset(new Date(publishMs).toISOString()),
    redeliveryCount,
    key,
    eventTime: eventTimeUs === undefined ? undefined : withOffset(formatTime(eventTimeUs)),
  })
}

/** In numbers: not every client reads `Z`. */
function withOffset(time: string): string {
  return time.replace('Z', '+00:00')
}
