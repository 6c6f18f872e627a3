// Long answers: a few at once per project, lines of progress and one result, over when their reader is.
import { Readable } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Failure } from '../../packages/core/failure.ts'
import { STATUS } from '../../packages/runtime/http.ts'

export type Line = Readonly<Record<string, unknown>>

/** Each of them keeps a processor busy. */
const MOST_AT_ONCE = 2
const RETRY_AFTER_MS = 5000

export class Running {
  readonly #most: number
  readonly #byProject = new Map<string, number>()
  readonly #open = new Set<AbortController>()

  constructor(most = MOST_AT_ONCE) {
    this.#most = most
  }

  /** Resolves with what `work` does, or `too_many`. */
  async within<T>(reply: FastifyReply, project: string, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const gone = this.#enter(project)
    reply.raw.once('close', () => gone.abort())
    try {
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
    const gone = this.#enter(project)
    reply.raw.once('close', () => gone.abort())
    const lines = work(gone.signal)
    const first = await lines.next().catch((error: unknown) => {
      this.#leave(project, gone)
      throw error
    })
    const rest = this.#lines(request, first, lines, project, gone)
    if ((request.headers.accept ?? '').includes('text/event-stream')) reply.sse(events(rest))
    else reply.type('application/x-ndjson').send(Readable.from(texts(rest)))
  }

  /** Ends all that are under way. */
  stop(): void {
    for (const gone of this.#open) gone.abort()
  }

  #enter(project: string): AbortController {
    const running = this.#byProject.get(project) ?? 0
    if (running >= this.#most)
      throw new Failure('too_many', `${running} backtests of project ${project} are running: wait for one of them`, {
        retryAfterMs: RETRY_AFTER_MS,
      })
    this.#byProject.set(project, running + 1)
    const gone = new AbortController()
    this.#open.add(gone)
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
    // A reader that is gone before the first line was read never comes to the end of this.
    gone.signal.addEventListener('abort', () => this.#leave(project, gone), { once: true })
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

async function* texts(lines: AsyncGenerator<Line>): AsyncGenerator<string> {
  for await (const line of lines) yield `${JSON.stringify(line)}\n`
}

async function* events(lines: AsyncGenerator<Line>): AsyncGenerator<{ data: string }> {
  for await (const line of lines) yield { data: JSON.stringify(line) }
}
