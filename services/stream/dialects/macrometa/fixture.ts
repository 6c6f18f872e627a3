// A node of the dialect in this process: the real routes over real sockets, on a Redis of the tests.
import type { AddressInfo } from 'node:net'
import { Failure } from '../../../../packages/core/failure.ts'
import { Identity } from '../../../../packages/identity/identity.ts'
import { Dispatch } from '../../../../packages/log/durable/dispatch.ts'
import { DurableStreams } from '../../../../packages/log/durable/stream.ts'
import { Subscriptions } from '../../../../packages/log/durable/subscription.ts'
import type { TestRedis } from '../../../../packages/log/fixture.ts'
import { type HttpSettings, openHttp } from '../../../../packages/runtime/http.ts'
import { openLogger } from '../../../../packages/runtime/logger.ts'
import { openUpgrades } from '../../../../packages/runtime/upgrade.ts'
import { Audit } from '../../../../packages/state/audit.ts'
import type { Answer, Ask, Key } from '../../../../test/world.ts'
import { addMacrometa, type MacrometaSettings } from './macrometa.ts'

export type Node = {
  readonly key: Key
  readonly port: number
  readonly identity: Identity
  readonly streams: DurableStreams
  url(): string
  http(path: string, ask?: Ask): Promise<Answer>
  /** Streams that producers are connected to, as `project stream`. */
  readonly produced: Set<string>
  readonly troubles: unknown[]
  stop(): Promise<void>
}

const KEY = { keyId: 'boss', secret: 'secret-of-the-boss' }

export type NodeSettings = { readonly limits?: HttpSettings['limits']; readonly sockets?: MacrometaSettings['sockets'] }

const NO_LIMITS = { manage: undefined, ingest: undefined }

export async function openNode(server: TestRedis, { limits = NO_LIMITS, sockets = {} }: NodeSettings = {}): Promise<Node> {
  const redis = await server.connect('producer')
  const troubles: unknown[] = []
  const troubled = (error: unknown) => void troubles.push(error)
  const identity = new Identity(redis, 'k'.repeat(32), troubled)
  await identity.put(KEY.keyId, KEY.secret, 'boss@example.com', { default: 'admin' })
  const streams = new DurableStreams(redis, { check: async (_, __, payloads) => payloads.forEach(checkPayload) })
  const subscriptions = new Subscriptions(redis, streams)
  const dispatch = new Dispatch({ streams, subscriptions, connect: () => server.connect('worker'), troubled })
  const app = await openHttp({ identity, log: openLogger('silent'), version: '1', limits })
  const produced = new Set<string>()
  const connected = (project: string, stream: string) => {
    produced.add(`${project} ${stream}`)
    return () => void produced.delete(`${project} ${stream}`)
  }
  const upgrades = openUpgrades(app)
  const ports = {
    streams,
    subscriptions,
    dispatch,
    identity,
    audit: new Audit(redis),
    upgrades,
    redis,
    cursorKey: '',
    nowUs: () => Date.now() * 1000,
    produced: () => undefined,
    connected,
    followed: () => () => undefined,
    troubled,
  }
  addMacrometa(app, ports, { publicUrl: undefined, streamLimit: 200, sockets })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  const url = `http://127.0.0.1:${port}`
  return {
    key: KEY,
    port,
    identity,
    streams,
    url: () => url,
    http: async (path, ask = {}) => {
      const response = await fetch(`${url}${path}`, ask)
      const text = await response.text()
      return { status: response.status, headers: response.headers, text, json: JSON.parse(text) as Answer['json'] }
    },
    produced,
    troubles,
    stop: async () => {
      await app.close()
      await dispatch.stop()
      await identity.close()
    },
  }
}

/** As every schema has it here. */
function checkPayload(payload: Buffer): void {
  if (payload.toString() === 'wrong') throw new Failure('invalid', 'Schema validation has failed: it is wrong', { field: 'schema' })
}
