// Turns: so many at once, in the order of coming, whatever becomes of the work.
import { describe, expect, it } from 'vitest'
import { Turns } from './turn.ts'

describe('turns', () => {
  it('let two work at a time, in the order in which they came, also when work fails', async () => {
    const turns = new Turns(2)
    const begun: number[] = []
    const finish: (() => void)[] = []
    const all = [0, 1, 2, 3, 4].map(n =>
      turns.take(
        () =>
          new Promise<number>((resolve, reject) => {
            begun.push(n)
            finish[n] = () => (n === 1 ? reject(new Error('failed')) : resolve(n))
          }),
      ),
    )
    let ended = 0
    const settled = Promise.allSettled(all)
    for (const n of [1, 0, 2, 3, 4]) {
      await new Promise(resolve => setImmediate(resolve))
      expect(begun.length - ended).toBe(Math.min(2, 5 - ended))
      finish[n]?.()
      ended++
    }
    expect((await settled).map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'fulfilled', 'fulfilled'])
    expect(begun).toEqual([0, 1, 2, 3, 4])
  })
})
