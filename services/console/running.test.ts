// Long answers over real sockets: how many at once, and what a reader that goes away ends.
import { once } from 'node:events'
import { request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fastify } from 'fastify'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Failure } from '../../packages/core/failure.ts'
import { Running } from './running.ts'

const app = fastify()
const running = new Running(2)
let ended = 0
let port = 0

beforeAll(async () => {
  app.setErrorHandler((error, _request, reply) => {
    const refused = error instanceof Failure && error.code === 'too_many'
    return reply.code(refused ? 429 : 500).send(String(error))
  })
  app.get('/endless', async (asked, reply) => {
    await running.answer(asked, reply, 'p', async function* (signal) {
      try {
        for (let line = 0; ; line++) {
          yield { line }
          await new Promise<void>(resolve => {
            signal.addEventListener('abort', () => resolve(), { once: true })
          })
          signal.throwIfAborted()
        }
      } finally {
        ended++
      }
    })
    return reply
  })
  app.get('/failing', async (asked, reply) => {
    await running.answer(asked, reply, 'p', async function* () {
      yield { line: 0 }
      throw new Failure('unavailable', 'the store is away')
    })
    return reply
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  port = (app.server.address() as AddressInfo).port
})
afterAll(async () => {
  running.stop()
  await app.close()
})

/** Resolves when the first line is there. */
async function open() {
  const asked = request({ port, path: '/endless' })
  asked.end()
  const [answer] = await once(asked, 'response')
  if (answer.statusCode === 200) await once(answer, 'data')
  return { status: answer.statusCode as number, leave: () => asked.destroy() }
}

describe('long answers', () => {
  test('are so many at once, and who leaves makes room', async () => {
    const [first, second] = [await open(), await open()]
    expect([first.status, second.status, (await open()).status]).toEqual([200, 200, 429])
    first.leave()
    await expect.poll(() => ended, { timeout: 10_000 }).toBe(1)
    const third = await open()
    expect(third.status).toBe(200)
    second.leave()
    third.leave()
    await expect.poll(() => ended, { timeout: 10_000 }).toBe(3)
  })

  test('end with the failure when they fail on the way', async () => {
    const text = await (await fetch(`http://127.0.0.1:${port}/failing`)).text()
    expect(
      text
        .trim()
        .split('\n')
        .map(line => JSON.parse(line) as unknown),
    ).toEqual([{ line: 0 }, { error: { code: 503, message: 'the store is away' } }])
  })
})
