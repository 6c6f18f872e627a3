// What is open at a connector: what is due, what is committed, and the bound.
import { describe, expect, it } from 'vitest'
import { freshItem, type Item, Open } from './open.ts'

const item = (n: number, more: Partial<Item> = {}): Item => ({ ...freshItem(`l${n}-0:0`, 'd', '{}'), ...more })
/** By how much the wall's clock is ahead in these tests. */
const AHEAD = 1000

describe('what is open', () => {
  it('is committed while it lasts, and what came and went between two commits never is', () => {
    const open = new Open({}, AHEAD)
    open.begin(item(1))
    open.begin(item(2))
    open.end(item(2))
    const row = JSON.stringify({ device: 'd', frame: '{}', attempts: 0, refused: 0 })
    expect(open.take('hash', AHEAD)).toEqual([['HSET', 'hash', 'l1-0:0', row]])
    expect(open.take('hash', AHEAD)).toEqual([])
    open.end(item(1))
    expect(open.take('hash', AHEAD)).toEqual([['HDEL', 'hash', 'l1-0:0']])
  })

  it('is due when its time has come, and all of it when the receiver is back', () => {
    const open = new Open({}, AHEAD)
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

  it('is all due after a restart, with the attempts that were made and when, by whatever clock', () => {
    const before = new Open({}, AHEAD)
    before.begin(item(1))
    before.again(item(1, { attempts: 3, firstMs: 5, dueMs: 1e15 }))
    const [, , ...pairs] = before.take('hash', AHEAD)[0] ?? []
    const open = new Open({ [String(pairs[0])]: String(pairs[1]) }, AHEAD + 7)
    expect(open.take('hash', AHEAD)).toEqual([])
    expect(open.due(0)).toEqual(item(1, { attempts: 3, firstMs: 5 - 7 }))
  })

  it('is bounded in number and in size', () => {
    const many = new Open({}, AHEAD)
    for (let n = 0; n < 2000; n++) many.begin(item(n))
    expect(many.hasRoom).toBe(false)
    many.end(item(0))
    expect([many.hasRoom, many.untried('l')]).toEqual([true, 1999])
    const large = new Open({}, AHEAD)
    large.begin(item(1, { frame: ' '.repeat(4 * 1024 * 1024) }))
    expect(large.hasRoom).toBe(false)
  })

  it('counts those that were never tried, whatever becomes of them', () => {
    const open = new Open({}, AHEAD)
    for (const n of [1, 2, 3]) open.begin(item(n))
    open.end(item(1))
    open.again(item(2, { attempts: 1 }))
    expect(open.untried('l')).toBe(1)
    open.again(item(3, { attempts: 1 }))
    open.again(item(2, { attempts: 2 }))
    open.end(item(2))
    expect([open.untried('l'), open.size]).toEqual([0, 1])
  })

  it('makes room by what was refused often enough, the first of these first, and not while it is under way', () => {
    const open = new Open({}, AHEAD)
    for (let n = 0; n < 2000; n++) {
      open.begin(item(n))
      open.again(item(n, { attempts: 9, refused: n < 3 ? 4 : 3 }))
    }
    expect([open.hasRoom, open.canMakeRoom]).toEqual([false, true])
    while (open.due(0));
    expect(open.dueRefused()?.key).toBe('l0-0:0')
    expect([open.makeRoom()?.key, open.makeRoom()?.key, open.makeRoom()]).toEqual(['l1-0:0', 'l2-0:0', undefined])
    expect([open.dueRefused()?.key, open.size]).toEqual(['l3-0:0', 1998])
  })

  it('prefers what was not refused, and does not hasten what was', () => {
    const open = new Open({}, AHEAD)
    for (const n of [1, 2, 3]) open.begin(item(n))
    open.again(item(1, { attempts: 1, refused: 1, dueMs: 5000 }))
    open.again(item(2, { attempts: 1, dueMs: 5000 }))
    open.again(item(3, { attempts: 1, refused: 1, dueMs: 10 }))
    expect([open.due(100), open.dueRefused()?.key]).toEqual([undefined, 'l3-0:0'])
    open.hasten()
    expect([open.due(100)?.key, open.dueRefused(), open.nextDueMs]).toEqual(['l2-0:0', undefined, 5000])
  })
})
