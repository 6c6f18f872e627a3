// What waits for a session: bounded, oldest dropped first, and taken away by its acknowledgement.
import { describe, expect, it } from 'vitest'
import { sessionId } from './session.ts'
import { type Limits, type Message, Waiting } from './waiting.ts'

const PLENTY: Limits = { messages: 100, sessionBytes: 1e6, keyBytes: 1e6, allBytes: 1e6 }
const A = sessionId('key', 'a')
const B = sessionId('key', 'b')
const OTHER = sessionId('other', 'c')

function open(limits: Partial<Limits> = {}) {
  const told: string[] = []
  let dropped = 0
  const ports = { dropped: () => void dropped++, overfull: ({ client }: { client: string }) => void told.push(client) }
  const waiting = new Waiting(ports, { ...PLENTY, ...limits })
  return { waiting, told, dropped: () => dropped, texts: (id: string) => waiting.all(id).map(({ payload }) => payload?.toString()) }
}

let counter = 0
const message = (text: string): Message => ({
  cmd: 'publish',
  brokerId: 'b',
  brokerCounter: ++counter,
  topic: 't',
  payload: Buffer.from(text),
})
const big = (text: string) => message(text.padEnd(1000, '.'))

describe('what waits', () => {
  it('is given back in order, and taken away by the packet id under which it was sent', () => {
    const { waiting, texts } = open()
    const messages = ['1', '2', '3'].map(message)
    for (const one of messages) waiting.add(A, one)
    waiting.sent(A, { ...(messages[1] as Message), messageId: 7 })
    expect(waiting.take(A, undefined)).toBeUndefined()
    expect(waiting.take(B, 7)).toBeUndefined()
    expect(waiting.take(A, 7)).toMatchObject({ brokerCounter: messages[1]?.brokerCounter })
    expect(texts(A)).toEqual(['1', '3'])
  })

  it('is there once, however many subscriptions it matches', () => {
    const { waiting, texts } = open()
    const one = message('1')
    for (const id of [A, B, A]) waiting.add(id, one)
    expect([texts(A), texts(B)]).toEqual([['1'], ['1']])
  })

  it('is a PUBREL once the message was received [MQTT-4.3.3-1]', () => {
    const { waiting } = open()
    const one = message('1')
    waiting.add(A, one)
    waiting.sent(A, { ...one, messageId: 7 })
    waiting.sent(A, { cmd: 'pubrel', messageId: 7 })
    expect(waiting.all(A)).toEqual([{ cmd: 'pubrel', messageId: 7 }])
    expect(waiting.take(A, 7)?.cmd).toBe('pubrel')
    expect(waiting.all(A)).toEqual([])
  })

  it.each([
    ['messages', { messages: 2 }, message],
    ['bytes of a session', { sessionBytes: 2600 }, big],
    ['bytes of a key', { keyBytes: 2600 }, big],
    ['bytes of all', { allBytes: 2600 }, big],
  ])('loses its oldest to the limit of %s; that is counted, and told once until nothing waits', (_what, limits, make) => {
    const { waiting, told, dropped, texts } = open(limits)
    const messages = ['1', '2', '3', '4'].map(make)
    for (const one of messages) waiting.add(A, one)
    expect(texts(A).map(text => text?.[0])).toEqual(['3', '4'])
    expect([dropped(), told]).toEqual([2, ['a']])
    // One that is under way while it is dropped is no error.
    waiting.sent(A, { ...(messages[0] as Message), messageId: 1 })
    expect(waiting.take(A, 1)).toBeUndefined()
    for (const [i, one] of messages.entries()) {
      waiting.sent(A, { ...one, messageId: i + 1 })
      waiting.take(A, i + 1)
    }
    for (const one of messages) waiting.add(A, one)
    expect([dropped(), told]).toEqual([4, ['a', 'a']])
  })

  it('of one key leaves another its room, and what is forgotten makes room', () => {
    const { waiting, texts, dropped } = open({ keyBytes: 2600, allBytes: 4000 })
    for (const id of [A, B, OTHER]) waiting.add(id, big('1'))
    waiting.add(A, big('2'))
    expect([texts(A).length, texts(B).length, texts(OTHER).length, dropped()]).toEqual([1, 1, 1, 1])
    for (const id of [A, B]) waiting.forget(id)
    for (const text of ['2', '3']) waiting.add(OTHER, big(text))
    expect([texts(A).length, texts(OTHER).length, dropped()]).toEqual([0, 2, 2])
  })
})
