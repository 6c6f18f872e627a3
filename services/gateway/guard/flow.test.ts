// What connections may have under way, beside each other.
import { describe, expect, it } from 'vitest'
import { Flow } from './flow.ts'

const MB = 1024 * 1024

describe('the share of a connection', () => {
  it('is what all may have under way, shared by those that send', () => {
    const flow = new Flow()
    expect(flow.share).toBe(10_000)
    for (let i = 0; i < 200; i++) flow.enter()
    expect(flow.share).toBe(50)
    for (let i = 0; i < 9800; i++) flow.enter()
    expect(flow.share).toBe(4)
    for (let i = 0; i < 10_000; i++) flow.leave()
    expect(flow.share).toBe(10_000)
  })
})

describe('too many bytes', () => {
  it('hold up everybody until half of them are through, and then let in who waited longest', async () => {
    const flow = new Flow()
    const went: string[] = []
    const take = (name: string, bytes: number) => () => {
      went.push(name)
      flow.add(bytes)
      if (flow.isFull) flow.wait(take(name, bytes))
    }
    take('a', 64 * MB)()
    expect(flow.isFull).toBe(true)
    flow.wait(take('b', 40 * MB))
    flow.wait(take('c', 1 * MB))
    flow.remove(16 * MB)
    expect([flow.isFull, went]).toEqual([true, ['a']])
    flow.remove(48 * MB)
    await new Promise(resolve => setImmediate(resolve))
    expect(went).toEqual(['a', 'a'])
    flow.remove(64 * MB)
    await new Promise(resolve => setImmediate(resolve))
    expect(went).toEqual(['a', 'a', 'b', 'c', 'a'])
  })
})
