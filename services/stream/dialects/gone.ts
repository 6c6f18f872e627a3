// Whether the client of a request went away without its answer: nobody is worked for who is not there.
import type { FastifyReply } from 'fastify'

export function goneWith(reply: FastifyReply, gone: AbortController): void {
  const look = () => {
    if (!reply.raw.writableFinished) gone.abort()
  }
  reply.raw.once('close', look)
  if (reply.raw.destroyed) look()
}

export function goneOf(reply: FastifyReply): AbortSignal {
  const gone = new AbortController()
  goneWith(reply, gone)
  return gone.signal
}
