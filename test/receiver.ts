// A receiver of webhooks as somebody would write it: checks the signature, remembers what came, and can be told to fail.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Webhook } from 'standardwebhooks'
import type { AlarmDocument } from '../packages/state/alarm.ts'

export type Attempt = {
  readonly path: string
  readonly id: string
  readonly atMs: number
  /** Whether the signature and its time are right. */
  readonly valid: boolean
  readonly status: number
  readonly type: string
  readonly alarm: AlarmDocument
}

export type Receiver = {
  readonly url: string
  readonly port: number
  /** In the order of their arrival, also the refused ones. */
  readonly attempts: Attempt[]
  /** Those that were answered with 200. */
  taken(): Attempt[]
  /** Answers with this status from now on; 0: takes the request and never answers. */
  answer(status: number): void
  /** Stops listening, and listens again on the same port. */
  die(): Promise<void>
  revive(): Promise<void>
  stop(): Promise<void>
}

export const SECRET = `whsec_${Buffer.from('a secret of 24 bytes, ok').toString('base64')}`

export async function startReceiver(): Promise<Receiver> {
  const attempts: Attempt[] = []
  const webhook = new Webhook(SECRET)
  let status = 200
  const take = async (request: IncomingMessage, response: ServerResponse) => {
    const body = await textOf(request)
    const { type, data } = JSON.parse(body) as { type: string; data: AlarmDocument }
    const id = String(request.headers['webhook-id'])
    attempts.push({ path: request.url ?? '', id, atMs: Date.now(), valid: verifies(webhook, body, request), status, type, alarm: data })
    if (status !== 0) response.writeHead(status).end()
  }
  let server = await listen(0, take)
  const { port } = server.address() as AddressInfo
  const die = async () => {
    server.closeAllConnections()
    await new Promise(resolve => server.close(resolve))
  }
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    attempts,
    taken: () => attempts.filter(attempt => attempt.status === 200),
    answer: next => {
      status = next
    },
    die,
    revive: async () => {
      server = await listen(port, take)
    },
    stop: die,
  }
}

function listen(port: number, take: (request: IncomingMessage, response: ServerResponse) => Promise<void>): Promise<Server> {
  const server = createServer((request, response) => void take(request, response))
  return new Promise((resolve, reject) => {
    server.once('error', reject).listen(port, '127.0.0.1', () => resolve(server))
  })
}

async function textOf(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = []
  for await (const part of request) parts.push(part as Buffer)
  return Buffer.concat(parts).toString('utf8')
}

function verifies(webhook: Webhook, body: string, { headers }: IncomingMessage): boolean {
  try {
    webhook.verify(body, headers as Record<string, string>)
    return true
  } catch (error) {
    if (error instanceof Error && error.name === 'WebhookVerificationError') return false
    throw error
  }
}
