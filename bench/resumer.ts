// A reader that is cut off at random moments, also in the middle of a frame, and each time goes on after the last whole frame it had.
import { connect, type Socket } from 'node:net'
import type { Random } from '../packages/cli/fleet/random.ts'

/** A place as a cursor tells it: entry id and index. */
export type Place = { readonly ms: number; readonly seq: number; readonly index: number }
/** What a reader was given, in order. */
export type Given = { readonly at: Place; readonly key: string } | { readonly gap: { readonly from: Place; readonly to: Place } }

export type ResumerOptions = {
  port(): number
  readonly authorization: string
  readonly sse: boolean
  /** Query of its filter, such as `device_ids=a&`. */
  readonly filter: string
  readonly since: string
  readonly random: Random
  /** How long it stays away after being cut off. */
  away(): number
  readonly maxConnectedMs: number
}

const CHANCE_OF_PAUSE = 0.1
const RETRY_MS = 20

export class Resumer {
  readonly given: Given[] = []
  disconnects = 0
  /** Error frames and refusals other than of a server that is starting or ending. */
  readonly errors: string[] = []
  readonly #options: ResumerOptions
  #socket: Socket | undefined
  #timer: NodeJS.Timeout | undefined
  #cursor: string | undefined
  #rest = ''
  #headed = false
  #restless = true
  #stopped = false

  constructor(options: ResumerOptions) {
    this.#options = options
    this.#open()
  }

  /** From now on it stays, and comes back at once. */
  settle(): void {
    this.#restless = false
    clearTimeout(this.#timer)
    if (this.#socket) this.#socket.resume()
    else this.#open()
  }

  stop(): void {
    this.#stopped = true
    clearTimeout(this.#timer)
    this.#socket?.destroy()
  }

  #open(): void {
    const { port, authorization, sse, filter, since, random, maxConnectedMs } = this.#options
    const socket = connect({ port: port(), host: '127.0.0.1', noDelay: true })
    this.#socket = socket
    this.#rest = ''
    this.#headed = false
    const way = Math.floor(random() * 3)
    const asCursor = this.#cursor === undefined ? `since=${since}` : way === 0 ? `lastEventId=${this.#cursor}` : `cursor=${this.#cursor}`
    const isHeader = this.#cursor !== undefined && (sse || way === 2)
    const head = [
      `GET /v2/projects/default/devices:stream?${filter}${isHeader ? '' : asCursor} HTTP/1.0`,
      `authorization: ${authorization}`,
      ...(sse ? ['accept: text/event-stream'] : []),
      ...(isHeader ? [`last-event-id: ${this.#cursor}`] : []),
    ]
    socket.setEncoding('latin1').write(`${head.join('\r\n')}\r\n\r\n`)
    socket.on('data', chunk => this.#take(String(chunk)))
    // `close` follows every error, and there it goes on.
    socket.on('error', () => socket.destroy())
    socket.on('close', () => {
      this.#socket = undefined
      if (this.#stopped) return
      clearTimeout(this.#timer)
      this.#timer = setTimeout(() => this.#open(), this.#restless && this.#headed ? this.#options.away() : RETRY_MS)
    })
    if (!this.#restless) return
    const leaveMs = random() * maxConnectedMs
    // Some leave with much unread, which the server must not count as read.
    if (random() < CHANCE_OF_PAUSE) setTimeout(() => socket.destroyed || !this.#restless || socket.pause(), leaveMs / 2)
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      if (this.#headed) this.disconnects++
      socket.destroy()
    }, leaveMs)
  }

  #take(chunk: string): void {
    this.#rest += chunk
    if (!this.#headed && !this.#readHead()) return
    const end = this.#options.sse ? '\n\n' : '\n'
    let from = 0
    for (let to = this.#rest.indexOf(end); to >= 0; from = to + end.length, to = this.#rest.indexOf(end, from))
      this.#frame(this.#rest.slice(from, to))
    this.#rest = this.#rest.slice(from)
  }

  #readHead(): boolean {
    const end = this.#rest.indexOf('\r\n\r\n')
    if (end < 0) return false
    const status = this.#rest.slice(9, 12)
    if (status === '200') this.#headed = true
    // One that is starting or ending answers 503.
    else if (status !== '503') this.errors.push(this.#rest.slice(0, 1000))
    this.#rest = status === '200' ? this.#rest.slice(end + 4) : ''
    return status === '200'
  }

  #frame(text: string): void {
    const cursor = (this.#options.sse ? /^id: (\S+)$/m : /"cursor":"([^"]+)"\}\}$/).exec(text)?.[1]
    if (cursor !== undefined) this.#cursor = cursor
    if (text.includes('"eventType":"gap"')) {
      const { from, to } = (JSON.parse(text.replace(/^(?:id: \S+\n)?data: /, '')) as GapFrame).result.event.data.gap
      this.given.push({ gap: { from: placeOf(from), to: placeOf(to) } })
    } else if (cursor !== undefined) this.given.push({ at: placeOf(cursor), key: keyOf(text) })
    else if (text.includes('"error":') && !/"code":(408|503)/.test(text)) this.errors.push(text)
  }
}

type GapFrame = { readonly result: { readonly event: { readonly data: { readonly gap: { readonly from: string; readonly to: string } } } } }

export function placeOf(cursor: string): Place {
  const [, ms, seq, index] = /^(\d+)-(\d+)\.(\d+)\./.exec(cursor) ?? []
  if (index === undefined) throw new Error(`${cursor} is no cursor`)
  return { ms: Number(ms), seq: Number(seq), index: Number(index) }
}

/** Device and time: each publisher gives every event a time of its own. */
export function keyOf(frame: string): string {
  const device = /"targetName":"projects\/default\/devices\/([^"]+)"/.exec(frame)?.[1]
  const at = frame.lastIndexOf('"timestamp":"') + 13
  return `${device} ${frame.slice(at, frame.indexOf('"', at))}`
}

export function comparePlaces(a: Place, b: Place): number {
  return a.ms - b.ms || a.seq - b.seq || a.index - b.index
}
