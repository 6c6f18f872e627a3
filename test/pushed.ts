// A receiver of a data connector as somebody would write it: remembers what was pushed, and can be told how to answer.
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { DeviceEvent } from '../packages/core/event.ts'

export type Pushed = {
  readonly path: string
  readonly atMs: number
  readonly status: number
  readonly headers: IncomingHttpHeaders
  /** The exact text of the body. */
  readonly body: string
  readonly event: DeviceEvent
  readonly labels: Readonly<Record<string, string>>
  readonly metadata: Readonly<Record<string, string>>
}

/** A status with headers; 0: takes the request and never answers. */
export type Reply = { readonly status: number; readonly headers?: Readonly<Record<string, string>> }

export type PushReceiver = {
  readonly url: string
  /** In the order of their arrival, also the refused ones. */
  readonly pushed: Pushed[]
  /** Event ids that were answered with 2xx, in order. */
  taken(path?: string): string[]
  /** How to answer from now on. */
  answer(reply: Reply | ((one: Omit<Pushed, 'status'>) => Reply)): void
  /** How many are connected now. */
  connections(): Promise<number>
  stop(): Promise<void>
}

export type Certificate = { readonly key: string; readonly cert: string }

/** With a certificate it speaks TLS. */
export async function startPushReceiver(certificate?: Certificate): Promise<PushReceiver> {
  const pushed: Pushed[] = []
  let choose: (one: Omit<Pushed, 'status'>) => Reply = () => ({ status: 200 })
  const take = async (request: IncomingMessage, response: ServerResponse) => {
    const body = await textOf(request)
    const { event, labels, metadata } = JSON.parse(body) as Pick<Pushed, 'event' | 'labels' | 'metadata'>
    const one = { path: request.url ?? '', atMs: Date.now(), headers: request.headers, body, event, labels, metadata }
    const { status, headers = {} } = choose(one)
    pushed.push({ ...one, status })
    if (status !== 0) response.writeHead(status, headers).end()
  }
  const server = await listen(take, certificate)
  return {
    url: `${certificate ? 'https' : 'http'}://127.0.0.1:${(server.address() as AddressInfo).port}`,
    pushed,
    taken: path =>
      pushed
        .filter(one => one.status >= 200 && one.status < 300 && (path === undefined || one.path === path))
        .map(one => one.event.eventId),
    answer: reply => {
      choose = typeof reply === 'function' ? reply : () => reply
    },
    connections: () => new Promise((resolve, reject) => server.getConnections((error, count) => (error ? reject(error) : resolve(count)))),
    stop: async () => {
      server.closeAllConnections()
      await new Promise(resolve => server.close(resolve))
    },
  }
}

type Take = (request: IncomingMessage, response: ServerResponse) => Promise<void>

function listen(take: Take, certificate: Certificate | undefined): Promise<Server> {
  const listener = (request: IncomingMessage, response: ServerResponse) => void take(request, response)
  const server = certificate ? createTlsServer(certificate, listener) : createServer(listener)
  return new Promise((resolve, reject) => {
    server.once('error', reject).listen(0, '127.0.0.1', () => resolve(server))
  })
}

async function textOf(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = []
  for await (const part of request) parts.push(part as Buffer)
  return Buffer.concat(parts).toString('utf8')
}
