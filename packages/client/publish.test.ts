// What goes wrong on the program's own side: every event has its answer all the same, at once, and it says whose mistake it was.
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Telltale, type TokenSource } from './index.ts'

let server: Server
let url: string
let asked: string[]
const clients: Telltale[] = []

beforeEach(async () => {
  asked = []
  server = createServer((request, response) => {
    asked.push(request.url ?? '')
    let lines = 0
    request.on('data', (part: Buffer) => {
      lines += String(part).split('\n').length - 1
    })
    request.on('end', () => response.end(JSON.stringify({ accepted: lines, rejected: 0 })))
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterEach(async () => {
  await Promise.all(clients.splice(0).map(client => client.close()))
  server.closeAllConnections()
  await new Promise(resolve => server.close(resolve))
})

function clientWith(getToken: TokenSource['getToken']): Telltale {
  const client = new Telltale({ url, project: 'p', getToken })
  clients.push(client)
  return client
}

const event = { device: 'd', data: { temperature: { value: 1 } } } as const

test.each([
  ['an error', new Error('the vault is sealed'), 'no access token: getToken failed (the vault is sealed)'],
  ['nothing at all', undefined, 'no access token: getToken failed (undefined)'],
])('when getToken rejects with %s, calls, publishes and streams fail at once and say so', async (_, reason, message) => {
  const client = clientWith(() => Promise.reject(reason))
  const refused = { status: 401, code: 'unauthenticated', message }
  for (let again = 0; again < 2; again++) await expect(client.publish(event)).rejects.toMatchObject(refused)
  expect(await client.publish(event).catch(error => (error as Error).cause)).toBe(reason)
  await expect(client.devices.list()).rejects.toMatchObject(refused)
  await expect(client.stream({ waitForServer: true }).next()).rejects.toMatchObject(refused)
  expect(asked).toEqual([])
})

test('a token that comes at the second attempt publishes what is published then', async () => {
  let calls = 0
  const client = clientWith(() => {
    if (++calls === 1) throw new Error('not yet')
    return 'token'
  })
  await expect(client.publish(event)).rejects.toMatchObject({ code: 'unauthenticated' })
  await client.publish(event)
  expect(asked).toEqual(['/v2/projects/p/events'])
})

test('a getToken that never comes to an end holds up neither a stop nor a close', async () => {
  const client = clientWith(() => new Promise<string>(() => {}))
  const stopping = new AbortController()
  const call = client.request('GET', '/v2/projects/p/status', { signal: stopping.signal })
  stopping.abort()
  await expect(call).rejects.toMatchObject({ code: 'unavailable', message: 'no access token in time' })
  const publisher = client.publisher()
  const settled: unknown[] = []
  publisher.add('{}', error => settled.push(error?.code))
  await publisher.close(50)
  expect(settled).toEqual(['unavailable'])
  const stream = client.stream()
  const next = stream.next()
  await stream.return()
  expect(await next).toEqual({ done: true, value: undefined })
})

test('a signal that is aborted with anything ends a call with an error in words', async () => {
  const stopping = new AbortController()
  const call = clientWith(() => 'token').request('GET', '/v2/projects/p/status', { signal: stopping.signal })
  stopping.abort(null)
  await expect(call).rejects.toMatchObject({ status: 0, code: 'unavailable' })
})

test('a mistake in one receipt costs no other event its answer', async () => {
  const uncaught: unknown[] = []
  const listeners = process.listeners('uncaughtException')
  process.removeAllListeners('uncaughtException')
  process.on('uncaughtException', error => uncaught.push(error))
  try {
    const client = clientWith(() => 'token')
    const publisher = client.publisher({}, { sent: () => fail('sent') })
    const settled: unknown[] = []
    publisher.add('{}', () => fail('settled'))
    publisher.add('{}', error => settled.push(error))
    await publisher.flush()
    publisher.add('{}', error => settled.push(error))
    await publisher.close(1000)
    expect(settled).toEqual([undefined, undefined])
    expect(uncaught.map(String)).toEqual(['Error: sent', 'Error: settled', 'Error: sent'])
  } finally {
    process.removeAllListeners('uncaughtException')
    for (const listener of listeners) process.on('uncaughtException', listener)
  }
})

function fail(what: string): never {
  throw new Error(what)
}
