// What many use is open while one of them does, and a little longer.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Pool } from './pool.ts'

describe('a pool', () => {
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())

  function make(open: (key: string) => Promise<string> = async key => key) {
    const said: string[] = []
    const pool = new Pool<string>(
      key => {
        said.push(`open ${key}`)
        return open(key)
      },
      async key => void said.push(`close ${key}`),
      1000,
    )
    return { pool, said }
  }

  it('opens once for all, and closes some time after the last has released it', async () => {
    const { pool, said } = make()
    const [first, second] = [pool.hold('a'), pool.hold('a')]
    expect(await first.value).toBe(await second.value)
    first.release()
    first.release()
    await vi.advanceTimersByTimeAsync(5000)
    expect(said).toEqual(['open a'])
    second.release()
    await vi.advanceTimersByTimeAsync(900)
    const third = pool.hold('a')
    await vi.advanceTimersByTimeAsync(5000)
    third.release()
    expect(said).toEqual(['open a'])
    await vi.advanceTimersByTimeAsync(1000)
    expect(said).toEqual(['open a', 'close a'])
    expect(pool.size).toBe(0)
  })

  it('opens anew for whoever comes when it closes', async () => {
    const { pool, said } = make()
    pool.hold('a').release()
    await vi.advanceTimersByTimeAsync(1000)
    pool.hold('a')
    expect(said).toEqual(['open a', 'close a', 'open a'])
  })

  it('tries again what could not be opened', async () => {
    let away = true
    const { pool, said } = make(async key => {
      if (away) throw new Error('away')
      return key
    })
    await expect(pool.hold('a').value).rejects.toThrow('away')
    away = false
    await expect(pool.hold('a').value).resolves.toBe('a')
    expect(said).toEqual(['open a', 'open a'])
  })

  it('closes all at its end, and leaves no timer', async () => {
    const { pool, said } = make()
    pool.hold('a')
    pool.hold('b').release()
    await pool.stop()
    expect(said.toSorted()).toEqual(['close a', 'close b', 'open a', 'open b'])
    expect(vi.getTimerCount()).toBe(0)
  })
})
