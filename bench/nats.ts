// The peer of durable streams: NATS JetStream with file storage, and its own client.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { AckPolicy, jetstream, jetstreamManager, StorageType } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import type { Durable } from './durable.ts'
import { findExecutable } from './executable.ts'
import { freePort, listening } from './peer.ts'

/** What a consumer has not acked, as ours. */
const WINDOW = 1000

/** Undefined, and said, where it is not installed. */
export function findNats(): string | undefined {
  const command = findExecutable('nats-server')
  if (command === undefined) console.warn('nats-server is not installed: the peer is skipped (apt-get install nats-server)')
  return command
}

export async function startNats(command: string): Promise<Durable> {
  const folder = await mkdtemp(join(tmpdir(), 'telltale-nats-'))
  const port = await freePort()
  const child = spawn(command, ['-a', '127.0.0.1', '-p', String(port), '-js', '-sd', folder], { stdio: 'ignore' })
  await listening(port, 'nats-server')
  const open = () => connect({ servers: `127.0.0.1:${port}` })
  const own = await open()
  const manager = await jetstreamManager(own)
  return {
    name: 'NATS JetStream',
    pid: child.pid ?? 0,
    async make(stream) {
      await manager.streams.add({ name: stream, subjects: [stream], storage: StorageType.File })
      await manager.consumers.add(stream, { durable_name: 's', ack_policy: AckPolicy.Explicit, max_ack_pending: WINDOW })
    },
    async producer(stream) {
      const connection = await open()
      const client = jetstream(connection)
      return {
        append: async payload => {
          await client.publish(stream, payload, { timeout: 60_000 })
        },
        close: () => connection.drain(),
      }
    },
    async consume(stream, took) {
      const connection = await open()
      const consumer = await jetstream(connection).consumers.get(stream, 's')
      const messages = await consumer.consume({
        max_messages: WINDOW,
        callback: message => {
          took(message.data)
          message.ack()
        },
      })
      return async () => {
        await messages.close()
        await connection.drain()
      }
    },
    async backlog(stream) {
      const { num_pending: pending, num_ack_pending: unacked } = await manager.consumers.info(stream, 's')
      return pending + unacked
    },
    async stop() {
      await own.drain()
      const exit = once(child, 'exit')
      child.kill('SIGTERM')
      await exit
      await rm(folder, { recursive: true, force: true })
    },
  }
}
