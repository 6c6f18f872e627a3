// Bodies that their route reads as they come, of any length: they may take as long as they move. All others are whole before a route sees
// them, and have to come in the time for a request.
import type { Http2Stream } from 'node:http2'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Failure } from '../core/failure.ts'
import type { HttpApp } from './http.ts'

/** Those that a server reads now. */
export class Uploads {
  readonly #open = new Set<Upload>()
  /** Sockets of HTTP/1.1 and streams of HTTP/2 whose body has its own limit of time. */
  readonly #slow = new WeakSet<object>()
  #stopped: Failure | undefined

  get size(): number {
    return this.#open.size
  }

  isSlow(socket: object): boolean {
    return this.#slow.has(socket)
  }

  /** @returns ends it. */
  enter(upload: Upload, socket: object): () => void {
    this.#open.add(upload)
    this.#slow.add(socket)
    if (this.#stopped) upload.stop(this.#stopped)
    return () => {
      this.#open.delete(upload)
      this.#slow.delete(socket)
    }
  }

  /** Each is answered with how far it got. */
  stop(failure: Failure): void {
    this.#stopped = failure
    for (const upload of this.#open) upload.stop(failure)
  }
}

/** The server does not close before all requests are answered, and an upload may have no end. */
export function stopLate(app: HttpApp): void {
  app.addHook('preClose', async () =>
    app.uploads.stop(new Failure('unavailable', 'the server is stopping: send the rest again', { retryAfterMs: 1000 })),
  )
}

/** Routes whose `config` says `streamed`. */
export function addStreamed(app: HttpApp, add: (app: HttpApp) => void): void {
  app.register(async inner => {
    inner.removeAllContentTypeParsers()
    inner.addContentTypeParser('*', (_request, payload, done) => done(null, payload))
    add(inner as unknown as HttpApp)
  })
}

/** `Expect: 100-continue`: the body is asked for when nothing is known against it (RFC 9110 10.1.1). */
export function continueLate(app: HttpApp): void {
  const waiting = new WeakSet<object>()
  app.server.on('checkContinue', (request, response) => {
    waiting.add(request)
    app.server.emit('request', request, response)
  })
  app.addHook('preParsing', async (request, reply) => {
    if (!waiting.delete(request.raw)) return
    const { streamed } = request.routeOptions.config
    const bytes = Number(request.headers['content-length'] ?? 0)
    if (!streamed && bytes > request.routeOptions.bodyLimit)
      throw new Failure('too_large', `body: at most ${request.routeOptions.bodyLimit} bytes, got ${bytes}`, { field: 'body' })
    reply.raw.writeContinue()
  })
}

const LOOK_EVERY_MS = 1000
/** What is refused before it has come whole is read so much longer: who still sends would not read the answer. */
const LINGER_MS = 500

export class Upload {
  readonly #request: FastifyRequest
  readonly #idleMs: number
  /** While it is read. */
  #leave: (() => void) | undefined
  #movedMs = performance.now()
  #wake = () => {}
  #failure: Failure | undefined
  #error: Error | undefined

  constructor(request: FastifyRequest) {
    this.#request = request
    this.#idleMs = request.server.server.requestTimeout
  }

  /** Whether nothing came in time. */
  isLate = false

  /** Something of use came: there is time for the next again. */
  moved(): void {
    this.#movedMs = performance.now()
  }

  /** When an answer to what has not come whole had begun before: the connection ends with it, and is not waited for. */
  hangUp(response: FastifyReply['raw']): void {
    const { raw } = this.#request
    response.once('finish', () => {
      if ('stream' in raw) (raw.stream as Http2Stream).close()
      else {
        // Who still sends reads it first.
        raw.socket.end()
        setTimeout(() => raw.socket.destroy(), LINGER_MS).unref()
      }
    })
  }

  /** Nothing more is read of it: whoever reads still, wherever they are, hears that nobody wants it. */
  close(): void {
    if (!this.#leave) return
    this.#leave()
    this.stop(new Failure('unavailable', 'the upload is over'))
  }

  /** Ends the reading with this. */
  stop(failure: Failure): void {
    this.#failure ??= failure
    this.#wake()
  }

  /** Nobody is there any more who could be answered. */
  get isGone(): boolean {
    const { destroyed, readableEnded } = this.#request.raw
    return destroyed && !readableEnded
  }

  /** All of it has come. */
  get isWhole(): boolean {
    return this.#request.raw.readableEnded
  }

  /** What comes, once; read no faster than it is taken. @throws Failure of `stop`, or the error by which the connection ended. */
  async *bytes({ asLongAsItMoves = false } = {}): AsyncGenerator<Buffer, void, undefined> {
    const { raw } = this.#request
    this.#begin(asLongAsItMoves)
    try {
      for (;;) {
        if (this.#failure) throw this.#failure
        const chunk = raw.read() as Buffer | null
        if (chunk) yield chunk
        else if (raw.readableEnded) return
        else if (this.#error ?? raw.destroyed) throw this.#error ?? new Error('the connection ended within the body')
        else
          await new Promise<void>(resolve => {
            this.#wake = resolve
          })
      }
    } finally {
      this.#leave?.()
    }
  }

  /** Before an answer to what has not come whole. */
  async linger(): Promise<void> {
    const { raw } = this.#request
    if (raw.readableEnded || raw.destroyed) return
    await new Promise<void>(resolve => {
      const timer = setTimeout(resolve, LINGER_MS)
      const done = () => {
        clearTimeout(timer)
        resolve()
      }
      raw.once('end', done).once('close', done).resume()
    })
  }

  #begin(asLongAsItMoves: boolean): void {
    const { raw, server } = this.#request
    const socket = 'stream' in raw ? (raw.stream as object) : raw.socket
    const wake = () => this.#wake()
    const failed = (error: Error) => {
      this.#error = error
      wake()
    }
    raw.on('readable', wake).on('end', wake).on('close', wake).on('error', failed)
    let timer: NodeJS.Timeout | undefined
    let leave = () => {}
    if (asLongAsItMoves) {
      leave = server.uploads.enter(this, socket)
      this.moved()
      timer = setInterval(() => this.#look(), LOOK_EVERY_MS).unref()
    }
    this.#leave = () => {
      this.#leave = undefined
      clearInterval(timer)
      leave()
      // What goes wrong with it later goes wrong for nobody: its listener for errors stays.
      raw.off('readable', wake).off('end', wake).off('close', wake)
    }
  }

  #look(): void {
    if (this.#idleMs === 0 || performance.now() - this.#movedMs < this.#idleMs) return
    this.isLate = true
    this.stop(new Failure('invalid', `body: nothing whole came for ${this.#idleMs / 1000} s`, { field: 'body' }))
  }
}
