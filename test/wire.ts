// MQTT packet by packet, for what no client library does on purpose: sending again, with and without DUP, and just going away.
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { generate, type IConnectPacket, type Packet, parser } from 'mqtt-packet'
import { until } from './eventually.ts'
import type { Key } from './world.ts'

export type Wire = {
  send(packet: Packet): void
  /** Bytes that no client library would send. */
  write(bytes: Buffer): void
  /** Packets that have come, in order. */
  readonly received: readonly Packet[]
  /** Publishes with QoS 1 and resolves with the PUBACK of this packet id. */
  publish(messageId: number, topic: string, payload: string, dup?: boolean): Promise<void>
  hasEnded(): boolean
  /** DISCONNECT, then the end. */
  leave(): Promise<void>
  /** The end without a word, as of a device that lost its network. */
  cut(): Promise<void>
}

/** A connection, and nothing said yet. */
export async function openRaw(port: number): Promise<Wire> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true })
  await once(socket, 'connect')
  // A connection that the server cuts off has ended: `hasEnded` says so.
  socket.on('error', () => socket.destroy())
  const received: Packet[] = []
  const reading = parser()
  reading.on('packet', (packet: Packet) => void received.push(packet))
  socket.on('data', part => void reading.parse(part))
  const send = (packet: Packet) => void socket.write(generate(packet))
  const acks = (id: number) => received.filter(packet => packet.cmd === 'puback' && packet.messageId === id).length
  return {
    send,
    write: bytes => void socket.write(bytes),
    received,
    publish: async (messageId, topic, payload, dup = false) => {
      const before = acks(messageId)
      send({ cmd: 'publish', qos: 1, dup, retain: false, messageId, topic, payload })
      await until(`PUBACK ${messageId}`, () => acks(messageId) > before)
    },
    hasEnded: () => socket.closed,
    leave: async () => {
      socket.write(generate({ cmd: 'disconnect' }))
      await closed(socket)
    },
    cut: async () => {
      socket.resetAndDestroy()
      await closed(socket)
    },
  }
}

/** As a client with this key says it. */
export function connectPacket(
  { keyId, secret }: Key,
  clientId: string,
  clean: boolean,
  more: Partial<IConnectPacket> = {},
): IConnectPacket {
  const login = { username: keyId, password: Buffer.from(secret) }
  return { cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clientId, clean, keepalive: 60, ...login, ...more }
}

/** Resolves when the server has answered CONNECT with 0. */
export async function openWire(
  port: number,
  key: Key,
  clientId: string,
  clean: boolean,
  more: Partial<IConnectPacket> = {},
): Promise<Wire> {
  const wire = await openRaw(port)
  wire.send(connectPacket(key, clientId, clean, more))
  await until('CONNACK', () => wire.received.some(packet => packet.cmd === 'connack' && packet.returnCode === 0))
  return wire
}

async function closed(socket: Socket): Promise<void> {
  if (!socket.closed) await once(socket, 'close')
}
