// Telltale as it is measured beside NATS: its durable streams over WebSocket, in the Macrometa dialect.
import { WebSocket } from 'ws'
import type { Durable } from './durable.ts'
import { Server } from './server.ts'

type Reply = { readonly result: string; readonly errorMsg?: string }
type Pushed = { readonly messageId: string; readonly payload: string }

const WINDOW = 1000

export async function startStreamServer(): Promise<Durable> {
  const server = await Server.start({})
  const { user, password } = server.login
  const headers = { authorization: `apikey default.${user}.${password}` }
  const http = async (method: string, path: string) => {
    const response = await fetch(`http://127.0.0.1:${server.httpPort}/_fabric/_system/_api/streams/${path}`, { method, headers })
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`)
  }
  const open = async (path: string) => {
    const socket = new WebSocket(`ws://127.0.0.1:${server.httpPort}/_ws/ws/v2/${path}`, { headers, perMessageDeflate: false })
    await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject))
    return socket
  }
  return {
    name: 'Telltale',
    pid: server.pid,
    make: stream => http('POST', `${stream}?global=true`),
    async producer(stream) {
      const socket = await open(`producer/persistent/default/c8global._system/c8globals.${stream}`)
      // Replies come in order.
      const waiting: ((reply: Reply) => void)[] = []
      let first = 0
      socket.on('message', (text: Buffer) => {
        const settle = waiting[first++] as (reply: Reply) => void
        if (first > 1000) {
          waiting.splice(0, first)
          first = 0
        }
        settle(JSON.parse(text.toString()) as Reply)
      })
      return {
        append: payload =>
          new Promise((resolve, reject) => {
            waiting.push(({ result, errorMsg }) => (result === 'ok' ? resolve() : reject(new Error(`${result} ${errorMsg}`))))
            socket.send(`{"payload":"${payload.toString('base64')}"}`)
          }),
        close: () => closed(socket),
      }
    },
    async consume(stream, took) {
      const socket = await open(`consumer/persistent/default/c8global._system/c8globals.${stream}/s?receiverQueueSize=${WINDOW}`)
      socket.on('message', (text: Buffer) => {
        const { messageId, payload } = JSON.parse(text.toString()) as Pushed
        took(Buffer.from(payload, 'base64'))
        socket.send(`{"messageId":"${messageId}"}`)
      })
      return () => closed(socket)
    },
    async backlog(stream) {
      const { stats } = await server.request<{ stats: { backlogCount: number } }>('GET', `streams/${stream}/subscriptions/s`)
      if (!Number.isInteger(stats.backlogCount)) throw new Error('the subscription does not say how much is not acked')
      return stats.backlogCount
    },
    stop: () => server.stop(),
  }
}

async function closed(socket: WebSocket): Promise<void> {
  const over = new Promise(resolve => socket.once('close', resolve))
  socket.close()
  await over
}
