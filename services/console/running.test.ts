// Long answers over real sockets: how many at once, and what a reader that goes away ends.
import { once } from 'node:events'
import { request, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fastify } from 'fastify'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Failure } from '../../packages/core/failure.ts'
import { Running } from './running.ts'

const app = fastify()
const running = new Running(2, 3)
let release = () => {}
let held = Promise.resolve()
let entered = 0
let ended = 0
let port = 0

beforeAll(async () => {
  app.setErrorHandler((error, _request, reply) => {
    const refused = error instanceof Failure && error.code === 'too_many'
    return reply.code(refused ? 429 : 500).send(String(error))
  })
  app.get('/endless', async (asked, reply) => {
    const { project = 'p' } = asked.query as { project?: string }
    await running.answer(asked, reply, project, async function* (signal) {
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
  app.get('/slow', async (asked, reply) => {
    await running.answer(asked, reply, 'p', async function* () {
      await held
      yield { line: 0 }
    })
    return reply
  })
  app.get('/late', async (_, reply) => {
    entered++
    await held
    return running.within(reply, 'p', async () => 'nobody is there')
  })
  app.get('/other', async (asked, reply) => running.within(reply, String((asked.query as { project: string }).project), async () => 'done'))
  await app.listen({ port: 0, host: '127.0.0.1' })
  port = (app.server.address() as AddressInfo).port
})
afterAll(async () => {
  running.stop()
  await app.close()
})

function hold(): void {
  held = new Promise<void>(resolve => {
    release = resolve
  })
}

/** Resolves when the server has seen that the reader is gone. */
async function leaveBeforeAnswer(path: string): Promise<void> {
  hold()
  const [arrived] = [once(app.server, 'request')]
  const asked = request({ port, path })
  asked.on('error', () => {
    // It is destroyed below.
  })
  asked.end()
  const [, answer] = (await arrived) as [unknown, ServerResponse]
  const gone = once(answer, 'close')
  asked.destroy()
  await gone
  release()
}

const statusOf = async (path: string) => (await fetch(`http://127.0.0.1:${port}${path}`)).status

/** Resolves when the first line is there. */
async function open(project = 'p') {
  const asked = request({ port, path: `/endless?project=${project}` })
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

  test('make room when their reader has left before the first line', async () => {
    for (let i = 0; i < 3; i++) await leaveBeforeAnswer('/slow')
    await expect.poll(() => statusOf('/failing'), { timeout: 10_000 }).toBe(200)
    const [first, second] = [await open(), await open()]
    expect([first.status, second.status]).toEqual([200, 200])
    first.leave()
    second.leave()
    await expect.poll(() => ended, { timeout: 10_000 }).toBe(5)
  })

  test('make room when their reader had left before they began', async () => {
    for (let i = 0; i < 3; i++) await leaveBeforeAnswer('/late')
    expect(entered).toBe(3)
    await expect.poll(() => statusOf('/other?project=p'), { timeout: 10_000 }).toBe(200)
  })

  test('are so many at once over all projects', async () => {
    const opened = [await open('a'), await open('b'), await open('c')]
    expect(opened.map(({ status }) => status)).toEqual([200, 200, 200])
    expect(await statusOf('/other?project=d')).toBe(429)
    const before = ended
    for (const one of opened) one.leave()
    await expect.poll(() => ended, { timeout: 10_000 }).toBe(before + 3)
    expect(await statusOf('/other?project=d')).toBe(200)
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
