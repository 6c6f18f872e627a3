// Guessing secrets: who is held up, for how long, and who is not.
import { describe, expect, it } from 'vitest'
import { Failure } from '../core/failure.ts'
import { Guesses } from './guess.ts'

const isWrong = (found: string) => found === 'wrong'
const LIMITS = { windowMs: 60_000, perKey: 3, perAddress: 10 }

function world(limits = LIMITS) {
  let nowMs = 1000
  const guesses = new Guesses(limits, () => nowMs)
  const attempt = (address: string, key: string | undefined, right: boolean) =>
    guesses
      .attempt(address, key, async () => (right ? 'in' : 'wrong'), isWrong)
      .then(
        found => found,
        (error: unknown) => (error instanceof Failure ? `${error.code} ${error.retryAfterMs}` : String(error)),
      )
  const wrong = async (count: number, address: string, key: (i: number) => string) => {
    for (let i = 0; i < count; i++) await attempt(address, key(i), false)
  }
  const pass = (ms: number) => {
    nowMs += ms
  }
  return { attempt, wrong, pass }
}

describe('a key that is guessed at', () => {
  it('is not looked at any more, right or wrong, until a minute after the first guess', async () => {
    const { attempt, wrong, pass } = world()
    await wrong(2, 'a', () => 'k')
    pass(20_000)
    expect(await attempt('a', 'k', false)).toBe('wrong')
    expect(await attempt('a', 'k', false)).toBe('too_many 40000')
    expect(await attempt('a', 'k', true)).toBe('too_many 40000')
    pass(40_000)
    expect(await attempt('a', 'k', true)).toBe('in')
  })

  it('holds up neither other keys behind the same address nor the same key elsewhere', async () => {
    const { attempt, wrong } = world()
    await wrong(5, 'a', () => 'k')
    expect([await attempt('a', 'other', true), await attempt('b', 'k', true)]).toEqual(['in', 'in'])
  })

  it('is not forgiven because its secret was right in between', async () => {
    const { attempt, wrong } = world()
    await wrong(2, 'a', () => 'k')
    expect(await attempt('a', 'k', true)).toBe('in')
    await wrong(1, 'a', () => 'k')
    expect(await attempt('a', 'k', true)).toBe('too_many 60000')
  })
})

describe('an address that guesses at many keys', () => {
  it('is held up, but not those behind it who were let in before', async () => {
    const { attempt, wrong } = world()
    expect(await attempt('a', 'known', true)).toBe('in')
    await wrong(10, 'a', i => `k${i}`)
    expect(await attempt('a', 'known', true)).toBe('in')
    expect(await attempt('a', 'new', true)).toBe('too_many 60000')
    expect(await attempt('b', 'new', true)).toBe('in')
  })

  it('is not held up by what was refused without a look', async () => {
    const { attempt, wrong } = world()
    await wrong(100, 'a', () => 'k')
    expect(await attempt('a', 'new', true)).toBe('in')
  })
})

it('costs memory for ten thousand, and the newest count', async () => {
  const { attempt, wrong } = world({ ...LIMITS, perAddress: 100_000 })
  await wrong(3, 'a', () => 'first')
  await wrong(10_000, 'a', i => `k${i}`)
  await wrong(3, 'a', () => 'last')
  expect([await attempt('a', 'first', true), await attempt('a', 'last', true)]).toEqual(['in', 'too_many 60000'])
})

it('who was let in a moment ago is still known after ten thousand others were, each once', async () => {
  const { attempt, wrong } = world()
  for (let i = 0; i < 10_001; i++) {
    await attempt('a', `token ${i}`, true)
    if (i % 1000 === 500) await attempt('a', 'known', true)
  }
  await wrong(10, 'a', i => `k${i}`)
  expect([await attempt('a', 'known', true), await attempt('a', 'token 0', true)]).toEqual(['in', 'too_many 60000'])
})

it('what is claimed for nobody counts for its address only, and nobody is known by it', async () => {
  const { attempt } = world()
  for (let i = 0; i < 9; i++) await attempt('a', undefined, false)
  expect(await attempt('a', undefined, true)).toBe('in')
  await attempt('a', undefined, false)
  expect([await attempt('a', undefined, true), await attempt('b', undefined, true)]).toEqual(['too_many 60000', 'in'])
})

it('without limits everything is looked at', async () => {
  const free = new Guesses(undefined)
  for (let i = 0; i < 100; i++) expect(await free.attempt('a', 'k', async () => 'wrong', isWrong)).toBe('wrong')
})
