// What is open at a connector: what is due, what is committed, and the bound.
import { describe, expect, it } from 'vitest'
import { type Item, Open } from './open.ts'

const item = (n: number, more: Partial<Item> = {}): Item => ({
  key: `l${n}-0:0`,
  device: 'd',
  frame: '{}',
  attempts: 0,
  firstMs: 0,
  dueMs: 0,
  ...more,
})

describe('what is open', () => {
  it('is committed while it lasts, and what came and went between two commits never is', () => {
    const open = new Open({})
    open.begin(item(1))
    open.begin(item(2))
    open.end(item(2))
    const row = JSON.stringify({ device: 'd', frame: '{}', attempts: 0, firstMs: 0, dueMs: 0 })
    expect(open.take('hash')).toEqual([['HSET', 'hash', 'l1-0:0', row]])
    expect(open.take('hash')).toEqual([])
    open.end(item(1))
    expect(open.take('hash')).toEqual([['HDEL', 'hash', 'l1-0:0']])
  })

  it('is due when its time has come, and all of it when the receiver is back', () => {
    const open = new Open({})
    for (const n of [1, 2, 3]) {
      open.begin(item(n))
      open.again(item(n, { attempts: 1, dueMs: n * 1000 }))
    }
    expect([open.due(999), open.nextDueMs]).toEqual([undefined, 1000])
    expect(open.due(1000)?.key).toBe('l1-0:0')
    expect(open.due(1000)).toBeUndefined()
    open.hasten()
    expect([open.due(1000)?.key, open.due(1000)?.key, open.due(1000)]).toEqual(['l2-0:0', 'l3-0:0', undefined])
  })

  it('is all due after a restart, with the attempts that were made', () => {
    const before = new Open({})
    before.begin(item(1))
    before.again(item(1, { attempts: 3, firstMs: 5, dueMs: 1e15 }))
    const [, , ...pairs] = before.take('hash')[0] ?? []
    const open = new Open({ [String(pairs[0])]: String(pairs[1]) })
    expect(open.take('hash')).toEqual([])
    expect(open.due(0)).toEqual(item(1, { attempts: 3, firstMs: 5 }))
  })

  it('is bounded in number and in size', () => {
    const many = new Open({})
    for (let n = 0; n < 2000; n++) many.begin(item(n))
    expect(many.hasRoom).toBe(false)
    many.end(item(0))
    expect([many.hasRoom, many.count('l')]).toEqual([true, 1999])
    const large = new Open({})
    large.begin(item(1, { frame: ' '.repeat(4 * 1024 * 1024) }))
    expect(large.hasRoom).toBe(false)
  })
})
