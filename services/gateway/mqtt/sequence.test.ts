// The order of one connection: what is worked on, and what is answered.
import { describe, expect, it } from 'vitest'
import { Sequence } from './sequence.ts'

describe('answers', () => {
  it('are given in the order of the questions, whichever is ready first', () => {
    const sequence = new Sequence()
    const told: string[] = []
    const [a, b, c] = ['a', 'b', 'c'].map(name => sequence.answer(error => told.push(error ? `${name} ${error.message}` : name)))
    c?.()
    b?.(new Error('no'))
    expect(told).toEqual([])
    a?.(null)
    expect(told).toEqual(['a', 'b no', 'c'])
  })

  it('that ask for more stay in order', () => {
    const sequence = new Sequence()
    const told: number[] = []
    const b = sequence.answer(() => told.push(2))
    b(null)
    const a = sequence.answer(() => {
      told.push(3)
      sequence.answer(() => told.push(4))(null)
    })
    a(null)
    expect(told).toEqual([2, 3, 4])
  })
})

function gate() {
  let open = () => {}
  const opened = new Promise<void>(resolve => {
    open = resolve
  })
  return { opened, open: () => open() }
}

describe('work', () => {
  it('that need not wait is done at once', () => {
    const sequence = new Sequence()
    const done: number[] = []
    for (const i of [1, 2, 3]) sequence.work(() => void done.push(i))
    expect(done).toEqual([1, 2, 3])
  })

  it('waits for what was before it, and nothing of it is forgotten', async () => {
    const sequence = new Sequence()
    const done: string[] = []
    const gates = [gate(), gate()] as const
    const slow = (name: string, opened: Promise<void>) => () => {
      done.push(`${name} begins`)
      return opened.then(() => void done.push(`${name} ends`))
    }
    sequence.work(slow('a', gates[0].opened))
    sequence.work(() => void done.push('b'))
    sequence.work(slow('c', gates[1].opened))
    sequence.work(() => void done.push('d'))
    expect(done).toEqual(['a begins'])
    gates[0].open()
    await expect.poll(() => done).toEqual(['a begins', 'a ends', 'b', 'c begins'])
    gates[1].open()
    await expect.poll(() => done.slice(4)).toEqual(['c ends', 'd'])
  })

  it('is not taken without end while something waits', () => {
    const sequence = new Sequence()
    sequence.work(() => new Promise<void>(() => {}))
    const taken = Array.from({ length: 1100 }, () => sequence.work(() => undefined))
    expect(taken.filter(Boolean)).toHaveLength(1000)
  })
})
