// Filters that are decided one by one, and settled together.
import { describe, expect, it } from 'vitest'
import { Asking, type Decision } from './asking.ts'

const decided = (topic: string): Decision => ({ topic, grant: { qos: 1, short: false }, isRestored: false })

function open(before?: Asking) {
  const settled: string[][] = []
  let [go, fail] = [() => {}, (_error: Error) => {}]
  const gate = new Promise<void>((resolve, reject) => {
    ;[go, fail] = [resolve, reject]
  })
  const asking = new Asking(before, decisions => {
    settled.push(decisions.map(({ topic }) => topic))
    return gate
  })
  return { asking, settled, go: () => go(), fail: (error: Error) => fail(error) }
}

const turn = () => new Promise(setImmediate)

describe('filters that are asked for at once', () => {
  it('are settled together, in their order, whichever is decided first', async () => {
    const { asking, settled, go } = open()
    let decide = (_decision: Decision) => {}
    const deciding = new Promise<Decision>(resolve => {
      decide = resolve
    })
    const slow = asking.add(deciding)
    const rest = [
      asking.add(Promise.resolve(decided('b'))),
      asking.add(Promise.resolve(undefined)),
      asking.add(Promise.resolve(decided('c'))),
    ]
    await turn()
    expect([settled, asking.hasBegun]).toEqual([[], false])
    decide(decided('a'))
    await turn()
    expect([settled, asking.hasBegun]).toEqual([[['a', 'b', 'c']], true])
    go()
    expect(await Promise.all([slow, ...rest])).toEqual([decided('a'), decided('b'), undefined, decided('c')])
  })

  it('fail together when they cannot be settled; one that cannot be decided fails alone', async () => {
    const { asking, settled, fail } = open()
    const all = Promise.allSettled([asking.add(Promise.reject(new Error('undecided'))), asking.add(Promise.resolve(decided('b')))])
    await turn()
    expect(settled).toEqual([['b']])
    fail(new Error('away'))
    expect(await all).toMatchObject([{ reason: { message: 'undecided' } }, { reason: { message: 'away' } }])
  })

  it('wait for those before them, and may be joined meanwhile', async () => {
    const first = open()
    const one = Promise.allSettled([first.asking.add(Promise.resolve(decided('a')))])
    const { asking, settled, go } = open(first.asking)
    const two = asking.add(Promise.resolve(decided('b')))
    await turn()
    const three = asking.add(Promise.resolve(decided('c')))
    await turn()
    expect(settled).toEqual([])
    first.fail(new Error('away'))
    go()
    await Promise.all([one, two, three])
    expect(settled).toEqual([['b', 'c']])
  })
})
