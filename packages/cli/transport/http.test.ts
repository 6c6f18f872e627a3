// The HTTP transport against a real server that says "later", takes a part, hangs up.
import type { Socket } from 'node:net'
import Fastify, { type FastifyReply } from 'fastify'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { event, type Peer, transportContract } from './contract.ts'
import { openHttp } from './http.ts'
import { Ledger } from './ledger.ts'

type Say = (reply: FastifyReply, ids: readonly string[]) => unknown
type Server = Peer & { readonly requests: { ids: string[]; type: string | undefined }[]; answer(...next: Say[]): void }

const accept: Say = (reply, ids) => reply.send({ accepted: ids.length, rejected: 0, errors: [] })

async function openServer(): Promise<Server> {
  const received: string[] = []
  const requests: Server['requests'] = []
  const answers: Say[] = []
  const held: (() => void)[] = []
  const sockets = new Set<Socket>()
  let holding = false
  const app = Fastify({ forceCloseConnections: true })
  app.server.on('connection', socket => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  app.addContentTypeParser('application/x-ndjson', { parseAs: 'string' }, (_request, body, done) => done(null, body))
  app.post('/v2/projects/default/events', async (request, reply) => {
    if (request.headers.authorization !== `Basic ${Buffer.from('key:secret').toString('base64')}`)
      return reply.code(401).send({ code: 401, error: 'unauthenticated', help: '' })
    const lines = String(request.body).trimEnd().split('\n')
    const ids = lines.map(line => (JSON.parse(line) as { eventId: string }).eventId)
    requests.push({ ids, type: request.headers['content-type'] })
    received.push(...ids)
    if (holding) await new Promise<void>(resolve => held.push(resolve))
    return (answers.shift() ?? accept)(reply, ids)
  })
  const httpUrl = await app.listen({ host: '127.0.0.1', port: 0 })
  const release = () => {
    holding = false
    for (const go of held.splice(0)) go()
  }
  return {
    target: { httpUrl, mqttUrl: 'mqtt://127.0.0.1:1', keyId: 'key', secret: 'secret', project: 'default' },
    received,
    requests,
    answer: (...next) => answers.push(...next),
    hold() {
      holding = true
    },
    release,
    hangUp() {
      for (const socket of sockets) socket.destroy()
    },
    async close() {
      release()
      await app.close()
    },
  }
}

transportContract('http', openServer, async (target, ledger) => openHttp(target, { connections: 2, maxBatch: 50 }, ledger))

describe('http', () => {
  let server: Server
  let signal: AbortSignal
  beforeEach(async () => {
    server = await openServer()
    signal = new AbortController().signal
  })
  afterEach(async () => {
    await server.close()
  })

  async function sendTen(...answers: Say[]): Promise<Ledger> {
    server.answer(...answers)
    const transport = openHttp(server.target, { connections: 1, maxBatch: 50 }, new Ledger(1000, signal))
    for (let n = 0; n < 10; n++) await transport.send(event('a', n))
    await transport.ledger.settle(5000)
    await transport.close()
    return transport.ledger
  }

  test('events that wait together are one NDJSON request', async () => {
    await sendTen()
    expect(server.requests.length).toBe(1)
    expect(server.requests[0]?.type).toBe('application/x-ndjson')
  })

  test('a server that says 503 is asked again when it said, not before', async () => {
    const started = performance.now()
    const ledger = await sendTen(reply => reply.code(503).header('retry-after', '1').send({ error: 'full' }))
    expect(performance.now() - started).toBeGreaterThanOrEqual(990)
    expect(ledger).toMatchObject({ acked: 10, retried: 10, refused: 0, outstanding: 0 })
  })

  test('a server error is tried again', async () => {
    expect(await sendTen(reply => reply.code(500).send({ error: 'internal error' }))).toMatchObject({ acked: 10, retried: 10 })
  })

  test('what is refused of a batch is counted with its reason, the rest is acked', async () => {
    const errors = [
      { index: 1, code: 'invalid', message: 'data.temperature.value: expected a number' },
      { index: 4, code: 'invalid', message: 'data.temperature.value: expected a number' },
    ]
    const ledger = await sendTen(reply => reply.code(207).send({ accepted: 8, rejected: 2, errors }))
    expect(ledger).toMatchObject({ acked: 8, refused: 2, outstanding: 0 })
    expect([...ledger.refusals]).toEqual([['data.temperature.value: expected a number', 2]])
  })

  test('a batch of which nothing is valid is refused whole, with or without a list', async () => {
    expect(await sendTen(reply => reply.code(400).send({ accepted: 0, rejected: 10, errors: [] }))).toMatchObject({
      refused: 10,
      outstanding: 0,
    })
    const ledger = await sendTen(reply => reply.code(400).send({ code: 400, error: 'not events', help: '' }))
    expect([...ledger.refusals]).toEqual([['not events', 10]])
  })

  test('a batch that is too large is sent in halves', async () => {
    const ledger = await sendTen(reply => reply.code(413).send({ error: 'too large' }))
    expect(ledger).toMatchObject({ sent: 10, acked: 10, refused: 0, outstanding: 0 })
    expect(server.requests.map(({ ids }) => ids.length)).toEqual([10, 5, 5])
  })

  test('an answer that does not account for every event ends the run', async () => {
    const ledger = await sendTen(reply => reply.send({ hello: 'world' }))
    expect(ledger).toMatchObject({ acked: 0, outstanding: 10 })
    expect(ledger.failure?.message).toMatch(/accounted for 0 of 10 events/)
  })

  test('a project that is not there ends the run', async () => {
    const ledger = await sendTen(reply => reply.code(404).send({ code: 404, error: 'no project default', help: '' }))
    expect(ledger.failure).toMatchObject({ code: 'not_found', message: expect.stringContaining('no project default') })
  })
})
