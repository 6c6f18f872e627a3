// Payloads of messages as a person can read them. Pure.
import type { Message } from '../../../packages/client/index.ts'

export const VIEWS = ['text', 'JSON', 'hex'] as const
export type View = (typeof VIEWS)[number]

const MAX_HEX_BYTES = 4096
const MAX_TEXT_CHARS = 20_000
const BYTES_A_LINE = 16

/** What suits the payload best. */
export function viewOf({ text }: Pick<Message, 'text'>): View {
  if (text === null) return 'hex'
  return /^\s*[[{]/.test(text) && parsed(text) !== undefined ? 'JSON' : 'text'
}

export function shownAs(view: View, { text, payload, size }: Pick<Message, 'text' | 'payload' | 'size'>): string {
  const bytes = () => Uint8Array.from(atob(payload), char => char.charCodeAt(0))
  if (view === 'hex') return hexOf(bytes(), size)
  const whole = text ?? new TextDecoder().decode(bytes())
  const value = view === 'JSON' ? parsed(new TextDecoder().decode(bytes())) : undefined
  return cut(value === undefined ? whole : JSON.stringify(value, null, 2))
}

/** One line of a payload. */
export function preview({ text, payload, size }: Pick<Message, 'text' | 'payload' | 'size'>): string {
  if (size === 0) return 'empty'
  if (text !== null) return text.slice(0, 300)
  const bytes = Uint8Array.from(atob(payload.slice(0, 44)), char => char.charCodeAt(0))
  return `${[...bytes].map(hex).join(' ')}${size > bytes.length ? ' …' : ''}`
}

function cut(text: string): string {
  return text.length > MAX_TEXT_CHARS ? `${text.slice(0, MAX_TEXT_CHARS)}…` : text
}

/** `00000000  7b 22 61 …  {"a…` */
function hexOf(bytes: Uint8Array, size: number): string {
  const lines: string[] = []
  for (let at = 0; at < Math.min(bytes.length, MAX_HEX_BYTES); at += BYTES_A_LINE) {
    const some = [...bytes.subarray(at, at + BYTES_A_LINE)]
    const letters = some.map(byte => (byte > 0x1f && byte < 0x7f ? String.fromCharCode(byte) : '·')).join('')
    lines.push(
      `${at.toString(16).padStart(6, '0')}  ${some
        .map(hex)
        .join(' ')
        .padEnd(BYTES_A_LINE * 3 - 1)}  ${letters}`,
    )
  }
  return size > MAX_HEX_BYTES ? `${lines.join('\n')}\n… of ${size} bytes` : lines.join('\n')
}

function hex(byte: number): string {
  return byte.toString(16).padStart(2, '0')
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** `unit=C` on each line; undefined when one is not of that form. */
export function propertiesOf(text: string): Readonly<Record<string, string>> | undefined {
  const lines = text.split('\n').filter(line => line.trim() !== '')
  if (lines.some(line => line.indexOf('=') < 1)) return undefined
  return Object.fromEntries(lines.map(line => [line.slice(0, line.indexOf('=')).trim(), line.slice(line.indexOf('=') + 1)]))
}
