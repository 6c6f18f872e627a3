// MQTT packet by packet, for what no client library does on purpose: sending again, with and without DUP, and just going away.
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { generate, type Packet, parser } from 'mqtt-packet'
import { until } from './eventually.ts'
import type { Key } from './world.ts'

export type Wire = {
  send(packet: Packet): void
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

/** Resolves when the server has answered CONNECT with 0. */
export async function openWire(port: number, { keyId, secret }: Key, clientId: string, clean: boolean): Promise<Wire> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true })
  await once(socket, 'connect')
  // A connection that the server cuts off has ended: `hasEnded` says so.
  socket.on('error', () => socket.destroy())
  const received: Packet[] = []
  const reading = parser()
  reading.on('packet', (packet: Packet) => void received.push(packet))
  socket.on('data', part => void reading.parse(part))
  const send = (packet: Packet) => void socket.write(generate(packet))
  send({
    cmd: 'connect',
    protocolId: 'MQTT',
    protocolVersion: 4,
    clientId,
    clean,
    keepalive: 60,
    username: keyId,
    password: Buffer.from(secret),
  })
  await until('CONNACK', () => received.some(packet => packet.cmd === 'connack' && packet.returnCode === 0))
  const acks = (id: number) => received.filter(packet => packet.cmd === 'puback' && packet.messageId === id).length
  return {
    send,
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

async function closed(socket: Socket): Promise<void> {
  if (!socket.closed) await once(socket, 'close')
}
