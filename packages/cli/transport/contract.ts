// What every transport promises, run against a real server on a real socket.
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Target } from '../target.ts'
import { Ledger } from './ledger.ts'
import type { Outgoing, Transport } from './transport.ts'

/** A server that can be told to be slow, or to hang up. */
export type Peer = {
  readonly target: Target
  /** The ids it has received, in order, repetitions included. */
  readonly received: readonly string[]
  /** From now on it receives and does not answer, until `release`. */
  hold(): void
  release(): void
  /** Hangs up on everybody without an answer. */
  hangUp(): void
  close(): Promise<void>
}

export type OpenTransport = (target: Target, ledger: Ledger, stopped: AbortSignal) => Promise<Transport>

export function event(device: string, n: number): Outgoing {
  const eventId = `${device}-${n}`
  const targetName = `projects/default/devices/${device}`
  const frame = JSON.stringify({
    eventId,
    targetName,
    eventType: 'temperature',
    data: { temperature: { value: n } },
    timestamp: '2026-03-02T00:00:00.000000Z',
  })
  return { device, eventType: 'temperature', frame }
}

/** Resolves when the condition holds; rejects after five seconds. */
export async function eventually(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 5000
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`not within 5 s: ${condition.toString()}`)
    await new Promise(resolve => setTimeout(resolve, 5))
  }
}

export function transportContract(name: string, openPeer: () => Promise<Peer>, open: OpenTransport): void {
  describe(`${name}: the transport's contract`, () => {
    let peer: Peer
    const opened: Transport[] = []
    let stopping: AbortController

    beforeEach(async () => {
      peer = await openPeer()
      stopping = new AbortController()
    })
    afterEach(async () => {
      await Promise.all(opened.splice(0).map(transport => transport.close()))
      await peer.close()
    })

    async function openWith(maxOutstanding: number): Promise<Transport> {
      const transport = await open(peer.target, new Ledger(maxOutstanding, stopping.signal), stopping.signal)
      opened.push(transport)
      return transport
    }

    test('every event is acked, once each, in the order of its device', async () => {
      const transport = await openWith(10_000)
      for (let n = 0; n < 500; n++) for (const device of ['a', 'b', 'c']) await transport.send(event(device, n))
      await transport.ledger.settle(5000)
      expect(transport.ledger).toMatchObject({ offered: 1500, sent: 1500, acked: 1500, refused: 0, outstanding: 0, retried: 0 })
      for (const device of ['a', 'b', 'c']) {
        const own = peer.received.filter(id => id.startsWith(device))
        expect(own).toEqual(Array.from({ length: 500 }, (_, n) => `${device}-${n}`))
      }
    })

    test('a server that does not answer is not sent more than the limit, and what waits goes on when it does', async () => {
      const transport = await openWith(100)
      peer.hold()
      let sent = 0
      const sending = (async () => {
        for (; sent < 300; sent++) await transport.send(event('a', sent))
      })()
      await eventually(() => transport.ledger.outstanding === 100)
      expect(sent).toBe(99)
      expect(transport.ledger.acked).toBe(0)
      peer.release()
      await sending
      await transport.ledger.settle(5000)
      expect(transport.ledger).toMatchObject({ offered: 300, acked: 300, outstanding: 0 })
    })

    test('an event whose answer got lost is sent again under the same id', async () => {
      const transport = await openWith(1000)
      // The first answer shows that the address is right.
      await transport.send(event('a', 0))
      await transport.ledger.settle(5000)
      peer.hold()
      for (let n = 1; n <= 10; n++) await transport.send(event('a', n))
      await eventually(() => new Set(peer.received).size === 11)
      peer.hangUp()
      peer.release()
      await transport.ledger.settle(8000)
      expect(transport.ledger).toMatchObject({ offered: 11, sent: 11, acked: 11, outstanding: 0, failure: undefined })
      expect(transport.ledger.retried).toBeGreaterThan(0)
      expect(transport.ledger.reconnects).toBeGreaterThan(0)
      expect(peer.received.length).toBeGreaterThan(11)
      expect(new Set(peer.received).size).toBe(11)
    })

    test('what has no answer when the waiting ends is still outstanding after the transport is closed', async () => {
      const transport = await openWith(1000)
      peer.hold()
      for (let n = 0; n < 7; n++) await transport.send(event('a', n))
      await eventually(() => peer.received.length > 0)
      await transport.ledger.settle(50)
      await transport.close()
      await transport.close()
      expect(transport.ledger).toMatchObject({ offered: 7, acked: 0, outstanding: 7, failure: undefined })
    })

    test('a key that the server does not know is a failure that names it', async () => {
      const wrong = { ...peer.target, keyId: 'stranger' }
      const ledger = new Ledger(10, stopping.signal)
      const refusal = (async () => {
        const transport = await open(wrong, ledger, stopping.signal)
        opened.push(transport)
        await transport.send(event('a', 1))
        await ledger.settle(5000)
        throw ledger.failure ?? new Error('not refused')
      })()
      await expect(refusal).rejects.toMatchObject({ code: 'unauthenticated', message: expect.stringContaining('stranger') })
    })

    test('a server that is not there is a failure that names the address', async () => {
      const nowhere = { ...peer.target, httpUrl: 'http://127.0.0.1:1', mqttUrl: 'mqtt://127.0.0.1:1' }
      const ledger = new Ledger(10, stopping.signal)
      const refusal = (async () => {
        const transport = await open(nowhere, ledger, stopping.signal)
        opened.push(transport)
        await transport.send(event('a', 1))
        await ledger.settle(5000)
        throw ledger.failure ?? new Error('not refused')
      })()
      await expect(refusal).rejects.toMatchObject({ code: 'unavailable', message: expect.stringContaining('127.0.0.1:1') })
    })
  })
}
