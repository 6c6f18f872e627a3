// Connections over TLS whose certificate ends.
import { TLSSocket } from 'node:tls'
import { expect, it } from 'vitest'
import { endExpired } from './tls.ts'

it('a connection that was destroyed and has not said so yet has no certificate that could end', () => {
  const socket = new TLSSocket(undefined as never)
  socket.destroy()
  expect(socket.getPeerCertificate()).toBeNull()
  endExpired(new Set([socket]), Date.now())
  expect(socket.destroyed).toBe(true)
})
