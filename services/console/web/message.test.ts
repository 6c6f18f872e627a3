// Which messages the page holds, through the client, against a real server of pages.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { Telltale } from '../../../packages/client/index.ts'
import { Messages } from './message.ts'

const opened: { close(): void }[] = []
afterEach(() => {
  for (const one of opened.splice(0)) one.close()
})

/** A stream that keeps messages of these places. */
async function serve(seqs: readonly number[]) {
  const stream = { seqs: [...seqs], asked: [] as string[], broken: false }
  const server = createServer((request, response) => {
    const { searchParams } = new URL(request.url ?? '', 'http://x')
    const bound = (name: string, otherwise: number) => Number(searchParams.get(name) ?? otherwise)
    stream.asked.push(searchParams.has('endTime') ? 'endTime' : searchParams.toString())
    if (stream.broken) {
      response.writeHead(400, { 'content-type': 'application/json' }).end(JSON.stringify({ error: 'broken', code: 400 }))
      return
    }
    const [after, before] = [bound('afterSeq', 0), bound('beforeSeq', Infinity)]
    const found = stream.seqs.filter(seq => seq > after && seq < before).toSorted((a, b) => b - a)
    const page = found.slice(0, bound('pageSize', 100))
    const body = { messages: page.map(seq => ({ seq })), nextPageToken: page.length < found.length ? 'more' : '' }
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const client = new Telltale({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, project: 'p', auth: 'session' })
  opened.push({
    close: () => {
      void client.close()
      server.close()
      server.closeAllConnections()
    },
  })
  const signedOut = () => {
    throw new Error('signed out')
  }
  const messages = new Messages({ client, stream: 's', changed: () => {}, signedOut })
  return { stream, messages, held: () => messages.held?.messages.map(({ seq }) => seq) }
}

const upTo = (last: number, first = 1) => Array.from({ length: last - first + 1 }, (_, i) => last - i)

test('what came is asked for once, also when the newest message is kept no more', async () => {
  const { stream, messages, held } = await serve([])
  await messages.follow(7)
  await messages.follow(7)
  expect([held(), stream.asked.length]).toEqual([[], 1])
  stream.seqs.push(8)
  await messages.follow(8)
  stream.seqs.length = 0
  await messages.follow(9)
  await messages.follow(9)
  expect([held(), stream.asked.length]).toEqual([[8], 3])
})

test('a load that failed says why, and is tried again when it is next asked, not before', async () => {
  const { stream, messages, held } = await serve([1])
  stream.broken = true
  await messages.follow(1)
  expect([messages.problem, messages.isBusy, stream.asked.length]).toEqual([expect.stringContaining('broken'), false, 1])
  stream.broken = false
  await messages.follow(1)
  expect([messages.problem, held(), stream.asked.length]).toEqual(['', [1], 2])
})

test('new ones come before those that are held; more than a page of them takes their place', async () => {
  const { stream, messages, held } = await serve(upTo(60))
  await messages.follow(60)
  expect([held(), messages.held?.older]).toEqual([upTo(60, 11), true])
  await messages.showOlder()
  expect([held(), messages.held?.older]).toEqual([upTo(60), false])
  stream.seqs.push(61)
  await messages.follow(61)
  expect(held()).toEqual(upTo(61))
  stream.seqs.push(...upTo(161, 62))
  await messages.follow(161)
  expect([held(), messages.held?.older]).toEqual([upTo(161, 112), true])
})

test('who looks at a time before is not disturbed by what comes, and what was asked before is forgotten', async () => {
  const { stream, messages, held } = await serve([1])
  const overtaken = messages.follow(1)
  await messages.jump('2026-01-01T00:00')
  stream.seqs.push(2)
  await Promise.all([overtaken, messages.follow(2)])
  expect(stream.asked.filter(query => query !== 'endTime')).toHaveLength(1)
  await messages.jump('')
  expect([held(), messages.until]).toEqual([[2, 1], ''])
})
