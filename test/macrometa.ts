// Words for tests of the dialect of Macrometa: its REST API, and its WebSockets by what they are.
import { randomUUID } from 'node:crypto'
import { type Opened, openSocket } from './socket.ts'
import type { Answer, Json, Key, Telltale } from './world.ts'

export const STREAMS = '/_fabric/_system/_api/streams'

export type Way = { readonly subscription?: string; readonly query?: string }

export type Macrometa = {
  apiKey(key?: Key, tenant?: string): string
  ask(method: string, path: string, said?: { readonly body?: string; readonly authorization?: string }): Promise<Answer>
  /** A new stream, and its topic. */
  newStream(global?: boolean): Promise<string>
  /** One after the other. */
  publish(topic: string, ...payloads: string[]): Promise<void>
  /** Without credentials when these are empty. */
  open(path: string, authorization?: string): Promise<Opened>
  produce(topic: string, query?: string): Promise<Opened>
  consume(topic: string, subscription: string, query?: string): Promise<Opened>
  read(topic: string, query?: string): Promise<Opened>
  /** Status and error of a handshake that is refused. */
  refused(path: string, authorization?: string): Promise<readonly [number, Json]>
  statusOf(path: string, authorization?: string): Promise<number>
  /** Cuts all WebSockets off. */
  cut(): void
}

export function speakMacrometa(telltale: () => Pick<Telltale, 'url' | 'key' | 'http'>): Macrometa {
  const opened: Opened[] = []
  const apiKey = ({ keyId, secret }: Key = telltale().key, tenant = 'default') => `apikey ${tenant}.${keyId}.${secret}`
  const ask: Macrometa['ask'] = (method, path, { body, authorization = apiKey() } = {}) => {
    const headers = { authorization, 'content-type': 'application/json' }
    return telltale().http(path, { method, ...(body === undefined ? {} : { body }), headers })
  }
  const done = async (answer: Promise<Answer>) => {
    const { status, text } = await answer
    if (status !== 200) throw new Error(`${status} ${text}`)
  }
  const open: Macrometa['open'] = async (path, authorization = apiKey()) => {
    const headers: Record<string, string> = authorization === '' ? {} : { authorization }
    const socket = await openSocket(`${telltale().url().replace('http', 'ws')}${path}`, { headers })
    opened.push(socket)
    return socket
  }
  const refused: Macrometa['refused'] = async (path, authorization) => {
    const error = await open(path, authorization).then(
      () => new Error('101 {}'),
      (reason: Error) => reason,
    )
    const [, status, body] = /^(\d+) (.*)$/s.exec(error.message) ?? []
    return [Number(status), JSON.parse(body ?? '{}') as Json]
  }
  return {
    apiKey,
    ask,
    newStream: async (global = true) => {
      const name = `s-${randomUUID()}`
      await done(ask('POST', `${STREAMS}/${name}?global=${global}`))
      return `${global ? 'c8globals' : 'c8locals'}.${name}`
    },
    publish: async (topic, ...payloads) => {
      for (const body of payloads) await done(ask('POST', `${STREAMS}/${topic}/publish`, { body }))
    },
    open,
    produce: (topic, query = '') => open(address('producer', topic, { query })),
    consume: (topic, subscription, query = '') => open(address('consumer', topic, { subscription, query })),
    read: (topic, query = '') => open(address('reader', topic, { query })),
    refused,
    statusOf: async (path, authorization) => (await refused(path, authorization))[0],
    cut: () => {
      for (const { socket } of opened.splice(0)) socket.terminate()
    },
  }
}

export function address(kind: 'producer' | 'consumer' | 'reader', topic: string, { subscription, query = '' }: Way = {}): string {
  const namespace = `${topic.startsWith('c8locals') ? 'c8local' : 'c8global'}._system`
  const last = subscription === undefined ? '' : `/${subscription}`
  return `/_ws/ws/v2/${kind}/persistent/default/${namespace}/${topic}${last}?${query}`
}

export function base64(text: string): string {
  return Buffer.from(text).toString('base64')
}

/** Payloads of messages that came. */
export function texts(frames: readonly Json[]): string[] {
  return frames.map(({ payload }) => Buffer.from(String(payload), 'base64').toString('utf8'))
}

/** By which it is acked. */
export function idOf(frame: Json | undefined): { readonly messageId: unknown } {
  return { messageId: frame?.['messageId'] }
}
