// Which deliveries may be repeats of earlier ones of the same client.
import { describe, expect, it } from 'vitest'
import { Redeliveries } from './redelivery.ts'

const HOUR_MS = 3_600_000

function afterAnHour() {
  let nowMs = 0
  const redeliveries = new Redeliveries(() => nowMs)
  nowMs = HOUR_MS
  return redeliveries
}

describe('a delivery without id or time', () => {
  it('is known again however many clients another key goes through', () => {
    const redeliveries = afterAnHour()
    redeliveries.connect('k\nmine', true).mayRepeat('a', false)
    for (let i = 0; i < 60_000; i++) redeliveries.connect(`other\n${i}`, true).mayRepeat('a', false)
    expect(redeliveries.connect('k\nmine', true).mayRepeat('a', false)).toBe(true)
    expect(redeliveries.connect('other\n0', true).mayRepeat('a', false)).toBe(false)
    expect(redeliveries.connect('other\n59999', true).mayRepeat('a', false)).toBe(true)
  })

  it('may repeat one of the last of a client that kept its session and was cut off', () => {
    const redeliveries = afterAnHour()
    const first = redeliveries.connect('c', true)
    expect(['a', 'b'].map(key => first.mayRepeat(key, false))).toEqual([false, false])
    const again = redeliveries.connect('c', true)
    expect(['b', 'new', 'a'].map(key => again.mayRepeat(key, false))).toEqual([true, false, true])
  })

  it('may repeat one of before a connection that was cut off before it delivered anything', () => {
    const redeliveries = afterAnHour()
    redeliveries.connect('c', true).mayRepeat('a', false)
    redeliveries.connect('c', true)
    expect(redeliveries.connect('c', true).mayRepeat('a', false)).toBe(true)
    const last = redeliveries.connect('c', true)
    last.endedCleanly()
    expect(redeliveries.connect('c', true).mayRepeat('a', false)).toBe(false)
  })

  it('may repeat one of before connections that were cut off before anything of theirs was acknowledged', () => {
    const redeliveries = afterAnHour()
    const first = redeliveries.connect('c', true)
    for (const key of ['bad', 'a', 'b']) first.mayRepeat(key, false)
    for (let i = 0; i < 3; i++) redeliveries.connect('c', true).mayRepeat('bad', false)
    const again = redeliveries.connect('c', true)
    expect(['bad', 'a'].map(key => again.mayRepeat(key, false))).toEqual([true, true])
    again.acknowledged()
    const last = redeliveries.connect('c', true)
    expect(['a', 'b'].map(key => last.mayRepeat(key, false))).toEqual([true, false])
    last.endedCleanly()
    expect(redeliveries.connect('c', true).mayRepeat('a', false)).toBe(false)
  })

  it.each([
    ['said goodbye', true, true],
    ['does not keep its session', false, false],
  ])('is new when its client %s', (_, keepsSession, goodbye) => {
    const redeliveries = afterAnHour()
    const first = redeliveries.connect('c', keepsSession)
    first.mayRepeat('a', false)
    if (goodbye) first.endedCleanly()
    expect(redeliveries.connect('c', keepsSession).mayRepeat('a', false)).toBe(false)
  })

  it('is not held against another client, nor against what is long acknowledged', () => {
    const redeliveries = afterAnHour()
    const first = redeliveries.connect('c', true)
    for (const key of ['old', ...Array.from({ length: 100 }, (_, i) => `k${i}`)]) first.mayRepeat(key, false)
    expect(redeliveries.connect('other', true).mayRepeat('k99', false)).toBe(false)
    const again = redeliveries.connect('c', true)
    expect(['old', 'k0', 'k99'].map(key => again.mayRepeat(key, false))).toEqual([false, true, true])
  })

  it('is suspected among the first of a connection only', () => {
    const redeliveries = afterAnHour()
    redeliveries.connect('c', true).mayRepeat('a', false)
    const again = redeliveries.connect('c', true)
    for (let i = 0; i < 100; i++) again.mayRepeat(`k${i}`, false)
    expect(again.mayRepeat('a', false)).toBe(false)
  })

  it('is suspected with DUP, and after a restart of the gateway that remembers nobody', () => {
    expect(afterAnHour().connect('c', false).mayRepeat('a', true)).toBe(true)
    const restarted = new Redeliveries(() => 0)
    restarted.connect('goodbye', true).endedCleanly()
    expect(restarted.connect('goodbye', true).mayRepeat('a', false)).toBe(false)
    expect(restarted.connect('c', true).mayRepeat('a', false)).toBe(true)
    expect(restarted.connect('c', false).mayRepeat('a', false)).toBe(false)
  })
})
