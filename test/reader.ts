// A reader of a stream over a bare HTTP connection: the bytes as they came, and the frames in them.
import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import type { DeviceEvent } from '../packages/core/event.ts'
import type { AlarmDocument } from '../packages/state/alarm.ts'
import { until } from './eventually.ts'

export type Frame = {
  readonly result?: { readonly event?: DeviceEvent; readonly alarm?: AlarmDocument; readonly cursor?: string }
  readonly error?: { readonly code: number; readonly message: string }
}

export type ReaderOptions = { readonly path?: string; readonly headers?: Record<string, string>; readonly sse?: boolean }

export type Reader = {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly rawHeaders: readonly string[]
  /** Everything that has come, as it came. */
  text(): string
  frames(): Frame[]
  /** Without pings and gaps. */
  events(): DeviceEvent[]
  alarms(): AlarmDocument[]
  /** Where to go on: of the last frame that has one. */
  cursor(): string
  hasEnded(): boolean
  /** Waits until this many events have come. */
  have(events: number, limitMs?: number): Promise<DeviceEvent[]>
  /** Stops reading from the socket, and goes on. */
  pause(): void
  resume(): void
  close(): void
}

/** Resolves when the head of the answer is there. */
export async function openReader(url: string, { headers = {}, sse = false }: ReaderOptions): Promise<Reader> {
  const accept = sse ? { accept: 'text/event-stream' } : {}
  const asked = request(url, { agent: false, headers: { ...accept, ...headers } })
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    asked.once('response', resolve).once('error', reject)
    asked.end()
  })
  return readerOf(asked, response)
}

function readerOf(asked: ClientRequest, response: IncomingMessage): Reader {
  let text = ''
  let whole = 0
  let ended = false
  let ids: string[] = []
  let frames: Frame[] = []
  const sse = response.headers['content-type']?.startsWith('text/event-stream') === true
  const end = sse ? '\n\n' : '\n'
  response.setEncoding('utf8').on('data', (part: string) => {
    text += part
  })
  const over = () => {
    ended = true
  }
  // A server that goes away resets the connection: for a reader that is one of the ways in which a stream ends.
  for (const source of [asked, response]) source.on('error', over).on('close', over)
  const read = () => {
    for (let at = text.indexOf(end, whole); at >= 0; at = text.indexOf(end, whole)) {
      const part = text.slice(whole, at)
      whole = at + end.length
      // When to come back is no frame.
      if (sse && /^retry: \d+$/.test(part)) continue
      const { frame, id } = sse ? blockOf(part) : lineOf(part)
      if (id !== undefined) ids = [...ids.slice(-1), id]
      frames.push(frame)
    }
    return frames
  }
  const events = () => read().flatMap(({ result }) => (result?.event && !isOwn(result.event) ? [result.event] : []))
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    rawHeaders: response.rawHeaders,
    text: () => text,
    frames: () => [...read()],
    events,
    alarms: () => read().flatMap(({ result }) => (result?.alarm ? [result.alarm] : [])),
    cursor: () => {
      read()
      return ids.at(-1) ?? ''
    },
    hasEnded: () => ended,
    have: async (count, limitMs = 10_000) => {
      await until(`${count} events have come, not ${events().length}`, () => events().length >= count, limitMs).catch((error: unknown) => {
        throw new Error(`expected ${count} events, ${events().length} came: ${text.slice(-500)}`, { cause: error })
      })
      return events()
    },
    pause: () => void response.pause(),
    resume: () => void response.resume(),
    close: () => {
      frames = [...read()]
      asked.destroy()
    },
  }
}

type Read = { readonly frame: Frame; readonly id: string | undefined }

function lineOf(line: string): Read {
  const frame = JSON.parse(line) as Frame
  return { frame, id: frame.result?.cursor }
}

function blockOf(block: string): Read {
  const field = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(block)?.[1]
  return { frame: JSON.parse(field('data') ?? '') as Frame, id: field('id') }
}

/** Written by the stream itself, not by a device. */
function isOwn({ eventType }: DeviceEvent): boolean {
  return eventType === 'ping' || eventType === 'gap'
}
