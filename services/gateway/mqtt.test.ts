// The MQTT door where connections end at awkward moments.
import { once } from 'node:events'
import { connect } from 'node:net'
import { generate } from 'mqtt-packet'
import { describe, expect, it } from 'vitest'
import { Failure } from '../../packages/core/failure.ts'
import type { Caller } from '../../packages/identity/identity.ts'
import { openLogger } from '../../packages/runtime/logger.ts'
import { until } from '../../test/eventually.ts'
import { Accept } from './accept.ts'
import { openMqtt } from './mqtt.ts'

const caller: Caller = { keyId: 'k', account: 'a', roles: { p: 'user' } }

/** A door at which logins wait until they are let through. */
async function openDoor() {
  const waiting: (() => void)[] = []
  const watching = new Set<object>()
  const down = () => Promise.reject(new Failure('unavailable', 'there is no log'))
  const ports = {
    accept: new Accept({ append: down, register: down, wake: () => {}, counted: () => {}, failed: () => {} }),
    quarantine: down,
    rejected: () => {},
    identity: {
      verify: () => new Promise<Caller>(resolve => waiting.push(() => resolve(caller))),
      renew: () => Promise.resolve(caller),
      watch: () => {
        const watch = {}
        watching.add(watch)
        return () => void watching.delete(watch)
      },
    },
    clock: { nowUs: () => 0, newId: () => 'id' },
    log: openLogger('silent'),
    follow: down,
    dropped: () => {},
  }
  return { door: await openMqtt(ports, '127.0.0.1', 0), waiting, watching }
}

async function knock(port: number, clientId: string) {
  const socket = connect({ port, host: '127.0.0.1' })
  socket.on('error', () => socket.destroy())
  await once(socket, 'connect')
  const login = { username: 'k', password: Buffer.from('secret'), clientId, clean: true, keepalive: 0 }
  socket.write(generate({ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, ...login }))
  return socket
}

describe('a client that goes while it logs in', () => {
  it('leaves nothing that watches its rights', async () => {
    const { door, waiting, watching } = await openDoor()
    const gone = await knock(door.port, 'gone')
    await until('it logs in', () => waiting.length === 1)
    gone.resetAndDestroy()
    const stays = await knock(door.port, 'stays')
    await until('the other logs in', () => waiting.length === 2)
    for (const letThrough of waiting) letThrough()
    await once(stays, 'data')
    expect(watching.size).toBe(1)
    stays.destroy()
    await until('nobody is watched', () => watching.size === 0)
    await door.close()
  })
})
