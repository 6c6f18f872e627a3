// One connection of a session at a time: the next one waits for the end of the one before, and that end has less time.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Deadline, Turns } from './turn.ts'

const never = new Promise<never>(() => {})

describe('the next connection of a session', () => {
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())

  it('begins although each part of the end before it takes as long as it may', async () => {
    const turns = new Turns()
    const end = async () => {
      const deadline = new Deadline()
      for (const limitMs of [5000, 5000, 10_000]) expect(await deadline.endsWithin(never, limitMs)).toBe(false)
      done()
    }
    const done = await turns.take(
      's',
      () => void end(),
      () => {},
    )
    const next = turns.take(
      's',
      () => {},
      () => {},
    )
    await vi.advanceTimersByTimeAsync(60_000)
    expect(await next).toBeTypeOf('function')
  })

  it('is told to come again when the one before it does not end', async () => {
    const turns = new Turns()
    const take = () =>
      turns.take(
        's',
        () => {},
        () => {},
      )
    await take()
    const refused = expect(take()).rejects.toThrow('still ends')
    await vi.advanceTimersByTimeAsync(60_000)
    await refused
  })
})
