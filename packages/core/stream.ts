// Names around durable streams, and what a stream may be told to keep.
import { invalid } from './failure.ts'

const MAX_NAME_CHARS = 255
const STREAM_FORBIDDEN = /[\p{C}%\\?#*]/u
const SUBSCRIPTION_FORBIDDEN = /[\p{C}%\\?#*/]/u
const MAX_KEY_CHARS = 512

/** Also of stations and topics of other dialects, whose names may have parts: `plant/line 3/readings`. */
export function checkStreamName(name: string, field = 'stream'): string {
  const parts = name.split('/')
  const isPath = parts.every(part => part !== '' && part !== '.' && part !== '..' && part.trim() === part)
  if (name.length > MAX_NAME_CHARS || STREAM_FORBIDDEN.test(name) || !isPath)
    throw invalid(field, `expected 1 to ${MAX_NAME_CHARS} characters without control characters and any of %\\?#*, in parts divided by "/"`)
  return name
}

export function checkSubscriptionName(name: string, field = 'subscription'): string {
  const isWord = name !== '' && name !== '.' && name !== '..' && name.trim() === name
  if (name.length > MAX_NAME_CHARS || SUBSCRIPTION_FORBIDDEN.test(name) || !isWord)
    throw invalid(field, `expected 1 to ${MAX_NAME_CHARS} characters without control characters and any of %\\?#*/`)
  return name
}

/** Of keys, names of messages, producers and consumers: any text, but not without end. */
export function checkMessageWord(text: string, field: string): string {
  if (text.length === 0 || text.length > MAX_KEY_CHARS || /\p{Cc}/u.test(text))
    throw invalid(field, `expected 1 to ${MAX_KEY_CHARS} characters without control characters`)
  return text
}
