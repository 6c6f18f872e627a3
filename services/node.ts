// This process among the others: its place in the directory of nodes, and what is connected to it.
import { hostname, networkInterfaces } from 'node:os'
import type { Redis } from 'ioredis'
import { newId } from '../packages/runtime/id.ts'
import type { Logger } from '../packages/runtime/logger.ts'
import { Directory } from '../packages/state/directory.ts'
import { Heartbeat } from '../packages/state/heartbeat.ts'
import { type NodeFacts, Nodes } from '../packages/state/node.ts'
import { type Counted, Presence } from '../packages/state/presence.ts'
import type { Config } from './config.ts'

export type Here = {
  readonly presence: Presence
  readonly directory: Directory
  /** From now on others know of this process. @param connections how many are open now, besides those of named streams. */
  begin(connections: () => number): Promise<void>
  /** Nobody is sent here any more. Idempotent. */
  leave(): Promise<void>
}

/** @param consumers of durable streams that are connected to this process. */
export async function openHere(redis: Redis, config: Config, logger: Logger, consumers: () => Counted): Promise<Here> {
  const nodes = new Nodes(redis)
  const presence = new Presence((await nodes.list()).nowMs, consumers)
  const { region, roles, capacity } = config
  const fixed = { id: newId(), address: addressOf(config), region, roles: [...roles], capacity, startedMs: presence.nowMs() }
  let connections = () => 0
  const facts = (): NodeFacts => ({ ...fixed, connections: connections() + presence.connections, trafficMs: presence.trafficMs })
  const heartbeat = new Heartbeat({ nodes, presence, facts, ...told(logger) })
  return {
    presence,
    directory: new Directory(nodes),
    begin: open => {
      connections = open
      return heartbeat.start()
    },
    leave: () => heartbeat.stop(),
  }
}

function told(logger: Logger) {
  return {
    troubled: (error: unknown) => logger.warn({ reason: (error as Error).message }, 'node is not in the directory'),
    crossed: (isAbove: boolean, load: number, threshold: number) => {
      if (isAbove) logger.warn({ load, threshold }, 'node is above its scale-out threshold: start another one')
      else logger.info({ load, threshold }, 'node is below its scale-out threshold again')
    },
  }
}

/** A proxy that everything goes through has the public address, and then so has every process behind it. */
function addressOf({ advertise, publicUrl, host }: Config): string {
  if (advertise !== undefined) return advertise
  if (publicUrl !== undefined) return new URL(publicUrl).hostname
  if (host !== '0.0.0.0' && host !== '::') return host.includes(':') ? `[${host}]` : host
  return outsideAddress() ?? hostname()
}

function outsideAddress(): string | undefined {
  const all = Object.values(networkInterfaces()).flatMap(addresses => addresses ?? [])
  return all.find(({ internal, family }) => !internal && family === 'IPv4')?.address
}
