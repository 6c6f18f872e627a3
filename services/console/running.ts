// Long answers: a few at once per project, lines of progress and one result, over when their reader is.
import { Readable } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Failure } from '../../packages/core/failure.ts'
import { STATUS } from '../../packages/runtime/http.ts'

export type Line = Readonly<Record<string, unknown>>

/** Each of them keeps a processor busy, and holds two stretches of history. */
const MOST_AT_ONCE = 2
const MOST_OF_ALL = 4
const RETRY_AFTER_MS = 5000
const LEFT = new Failure('unavailable', 'nobody waits for this answer any more')

export class Running {
  readonly #most: number
  readonly #mostOfAll: number
  readonly #byProject = new Map<string, number>()
  readonly #open = new Set<AbortController>()

  constructor(most = MOST_AT_ONCE, mostOfAll = MOST_OF_ALL) {
    this.#most = most
    this.#mostOfAll = mostOfAll
  }

  /** Resolves with what `work` does, or `too_many`. */
  async within<T>(reply: FastifyReply, project: string, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const gone = this.#enter(reply, project)
    try {
      gone.signal.throwIfAborted()
      return await work(gone.signal)
    } finally {
      this.#leave(project, gone)
    }
  }

  /** The first line is waited for: what is wrong before it is answered with its status. */
  async answer(
    request: FastifyRequest,
    reply: FastifyReply,
    project: string,
    work: (signal: AbortSignal) => AsyncGenerator<Line>,
  ): Promise<void> {
    const gone = this.#enter(reply, project)
    const leave = () => this.#leave(project, gone)
    const lines = work(gone.signal)
    // A reader that is gone before the first line was read never comes to the end of the lines. The work may still be at something: its
    // place is free when that is over.
    gone.signal.addEventListener('abort', () => void lines.return(undefined).then(leave, leave), { once: true })
    try {
      gone.signal.throwIfAborted()
      const first = await lines.next()
      gone.signal.throwIfAborted()
      const rest = this.#lines(request, first, lines, project, gone)
      if ((request.headers.accept ?? '').includes('text/event-stream')) reply.sse(events(rest))
      else reply.type('application/x-ndjson').send(Readable.from(texts(rest)))
    } catch (error) {
      leave()
      throw error
    }
  }

  /** Ends all that are under way. */
  stop(): void {
    for (const gone of this.#open) gone.abort(LEFT)
  }

  /** Aborted when the reader leaves, or has left already. */
  #enter(reply: FastifyReply, project: string): AbortController {
    const running = this.#byProject.get(project) ?? 0
    if (running >= this.#most) throw tooMany(`${running} long answers of project ${project} are under way`)
    if (this.#open.size >= this.#mostOfAll) throw tooMany(`${this.#open.size} long answers are under way`)
    this.#byProject.set(project, running + 1)
    const gone = new AbortController()
    this.#open.add(gone)
    reply.raw.once('close', () => gone.abort(LEFT))
    if (isGone(reply)) gone.abort(LEFT)
    return gone
  }

  #leave(project: string, gone: AbortController): void {
    if (!this.#open.delete(gone)) return
    const running = (this.#byProject.get(project) ?? 1) - 1
    if (running === 0) this.#byProject.delete(project)
    else this.#byProject.set(project, running)
  }

  /** Never throws: the status is long sent, so a failure is the last line. */
  async *#lines(
    request: FastifyRequest,
    first: IteratorResult<Line>,
    lines: AsyncGenerator<Line>,
    project: string,
    gone: AbortController,
  ): AsyncGenerator<Line> {
    try {
      if (first.done !== true) yield first.value
      yield* lines
    } catch (error) {
      if (gone.signal.aborted) return
      if (!(error instanceof Failure)) request.log.error({ err: error }, 'request failed')
      const known =
        error instanceof Failure ? { code: STATUS[error.code], message: error.message } : { code: 500, message: 'internal error' }
      yield { error: known }
    } finally {
      this.#leave(project, gone)
    }
  }
}

function tooMany(words: string): Failure {
  return new Failure('too_many', `${words} (backtests, suggestions, explanations): wait for one of them`, { retryAfterMs: RETRY_AFTER_MS })
}

/** HTTP/2 has it on the stream only. */
function isGone({ raw }: FastifyReply): boolean {
  return raw.destroyed || (raw as { readonly stream?: { readonly destroyed: boolean } }).stream?.destroyed === true
}

async function* texts(lines: AsyncGenerator<Line>): AsyncGenerator<string> {
  for await (const line of lines) yield `${JSON.stringify(line)}\n`
}

async function* events(lines: AsyncGenerator<Line>): AsyncGenerator<{ data: string }> {
  for await (const line of lines) yield { data: JSON.stringify(line) }
}
