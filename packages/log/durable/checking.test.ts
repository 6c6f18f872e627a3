// Checks on a thread of their own: in order, each project in its turn, and with an end whatever a definition does.
import { describe, expect, onTestFinished, test } from 'vitest'
import { Failure } from '../../core/failure.ts'
import { Schemas } from './checking.ts'
import { SchemaThread } from './schemathread.ts'

/** A thread runs what is built. */
const PROGRAM = new URL('../../../dist/packages/log/durable/schemathread.js', import.meta.url)

function open(): Schemas {
  const schemas = new Schemas(new SchemaThread(PROGRAM))
  onTestFinished(() => schemas.close())
  return schemas
}
const json = (definition: unknown) => ({ type: 'json', definition }) as const
const bytes = (value: unknown) => Buffer.from(JSON.stringify(value))
const NUMBERED = json({ type: 'object', properties: { a: { type: 'number' } }, required: ['a'] })
const WORDS = json({ items: { type: 'string' } })

async function failureOf(work: Promise<unknown>): Promise<Failure> {
  const failure = await work.then(
    () => undefined,
    (error: unknown) => error,
  )
  if (failure instanceof Failure) return failure
  throw failure ?? new Error('nothing was refused')
}

/** Each step asks the next one twice. */
function multiplying(steps: number): unknown {
  const twice = (n: number) => ({ allOf: [{ $ref: `#/$defs/s${n}` }, { $ref: `#/$defs/s${n}` }] })
  const $defs = Object.fromEntries(Array.from({ length: steps }, (_, n) => [`s${n}`, n === steps - 1 ? {} : twice(n + 1)]))
  return { $defs, ...twice(0) }
}
const BACKTRACKING = json({ pattern: '^(a+)+$' })
const WORD = bytes(`${'a'.repeat(60)}!`)
/** Each looks through all that were before it. */
const SLOW = json({ unevaluatedProperties: false, allOf: Array.from({ length: 2200 }, (_, i) => ({ properties: { [`p${i}`]: {} } })) })

describe('payloads', () => {
  test('that fit are let through, and of others it is said what is wrong', async () => {
    const schemas = open()
    await schemas.check('p', NUMBERED, [bytes({ a: 1 }), bytes({ a: 2 })])
    const failure = await failureOf(schemas.check('p', NUMBERED, [bytes({ a: 1 }), bytes({}), bytes({ a: 'x' })]))
    expect(failure).toMatchObject({ code: 'invalid', field: 'schema', message: "Schema validation has failed: missing properties: 'a'" })
  })

  test('of one project are answered in the order of the calls, whatever their schemas are', async () => {
    const schemas = open()
    const answered: number[] = []
    const calls = Array.from({ length: 50 }, (_, i) => {
      const isWrong = i % 3 === 0
      const call = i % 2 === 0 ? schemas.check('p', NUMBERED, [bytes({ a: isWrong ? 'x' : 1 })]) : schemas.check('p', WORDS, [bytes([])])
      const note = () => answered.push(i)
      return call.then(note, note)
    })
    await Promise.all(calls)
    expect(answered).toEqual(calls.map((_, i) => i))
  })

  test('are answered each for itself, also those that go together', async () => {
    const schemas = open()
    const calls = Array.from({ length: 250 }, (_, i) =>
      schemas.check('p', NUMBERED, [bytes({ a: i }), bytes({ a: i % 3 === 0 ? 'x' : i })]),
    )
    const outcomes = await Promise.allSettled(calls)
    expect(outcomes.map(({ status }) => status)).toEqual(calls.map((_, i) => (i % 3 === 0 ? 'rejected' : 'fulfilled')))
  })

  test('before the one that takes too long are let through, and those behind it wait for the schema', async () => {
    const schemas = open()
    await schemas.check('p', BACKTRACKING, [])
    const [before, late, after] = [bytes('aa'), WORD, bytes('aa')].map(payload => schemas.check('p', BACKTRACKING, [payload]))
    const [first, second, third] = await Promise.allSettled([before, late, after])
    expect(first).toMatchObject({ status: 'fulfilled' })
    expect(second).toMatchObject({ reason: { code: 'invalid', field: 'schema' } })
    expect(third).toMatchObject({ reason: { code: 'unavailable' } })
  })

  test('of one project do not wait for all those of another', async () => {
    const schemas = open()
    const answered: string[] = []
    const many = Array.from({ length: 20 }, (_, i) =>
      schemas.check('busy', json({ title: `${i}` }), [bytes(i)]).then(() => answered.push('busy')),
    )
    await Promise.all([...many, schemas.check('other', WORDS, [bytes([])]).then(() => answered.push('other'))])
    expect(answered.indexOf('other')).toBeLessThan(3)
  })

  test('are refused while too many of their project wait, and no others', async () => {
    const schemas = open()
    const payload = bytes(['x'.repeat(1024 * 1024)])
    const calls = Array.from({ length: 24 }, () => schemas.check('p', WORDS, [payload]))
    const outcomes = Promise.allSettled(calls)
    await schemas.check('other', WORDS, [payload])
    const refused = (await outcomes).filter(({ status }) => status === 'rejected')
    expect(refused.length).toBeGreaterThan(0)
    expect(refused.length).toBeLessThan(5)
    expect(await failureOf(calls.at(-1) ?? Promise.resolve())).toMatchObject({ code: 'unavailable' })
  })

  test.each([
    ['a pattern that backtracks', BACKTRACKING, WORD],
    ['references that multiply', json(multiplying(60)), bytes(1)],
    [
      'choices that are many',
      json({ items: { enum: Array.from({ length: 3000 }, (_, i) => ({ i })) } }),
      bytes(new Array(30_000).fill({ i: -1 })),
    ],
  ])('%s end after a limit, are not asked for again at once, and hold nobody else up', async (_, schema, payload) => {
    const schemas = open()
    await schemas.check('p', schema, [])
    let ticks = 0
    const timer = setInterval(() => ticks++, 5)
    const failure = await failureOf(schemas.check('p', schema, [payload]))
    clearInterval(timer)
    expect(failure.message).toMatch(/^Schema validation has failed: not decided within \d+ ms$/)
    expect(ticks).toBeGreaterThan(5)
    const again = await failureOf(schemas.check('p', schema, [payload]))
    expect(again).toMatchObject({ code: 'unavailable', retryAfterMs: expect.any(Number) as number })
    await Promise.all([schemas.check('p', NUMBERED, [bytes({ a: 1 })]), schemas.check('q', schema, [])])
  })
})

describe('a definition', () => {
  test('of many plain properties is one', async () => {
    const properties = Object.fromEntries(Array.from({ length: 2500 }, (_, i) => [`p${i}`, { type: 'number' }]))
    const schemas = open()
    const schema = json({ properties })
    await schemas.check('p', schema, [bytes({ p7: 1 })])
    expect((await failureOf(schemas.check('p', schema, [bytes({ p7: '' })]))).message).toMatch(/'p7': must be number$/)
  })

  test('that takes too long to read is refused, and its project gives no other for a while', async () => {
    const schemas = open()
    const said = { code: 'invalid', field: 'schema.definition', message: expect.stringMatching(/takes longer than 2000 ms/) as string }
    await schemas.check('p', NUMBERED, [])
    expect(await failureOf(schemas.check('p', SLOW, []))).toMatchObject(said)
    // It is known.
    expect(await failureOf(schemas.check('p', { ...SLOW }, []))).toMatchObject(said)
    expect(await failureOf(schemas.check('p', WORDS, []))).toMatchObject({ code: 'unavailable' })
    await schemas.check('p', NUMBERED, [bytes({ a: 1 })])
    await schemas.check('q', WORDS, [bytes([])])
  })

  test('that is none is refused with the place, and to those who append the stream is not there now', async () => {
    const schemas = open()
    const none = json({ properties: { a: { type: 'float' } } })
    const field = 'schema.definition.properties.a.type'
    expect(await failureOf(schemas.check('p', none, []))).toMatchObject({ code: 'invalid', field })
    expect(await failureOf(schemas.check('p', none, [bytes(1)]))).toMatchObject({ code: 'unavailable' })
    expect(await failureOf(schemas.check('p', json({ title: 'x'.repeat(70_000) }), []))).toMatchObject({ field: 'schema.definition' })
  })

  test('may be of protobuf', async () => {
    const schema = { type: 'protobuf', definition: 'syntax = "proto3"; message A { int32 a = 1; }', message: 'A' } as const
    const schemas = open()
    await schemas.check('p', schema, [Buffer.from([8, 1])])
    expect((await failureOf(schemas.check('p', schema, [Buffer.from([13, 0, 0, 0, 0])]))).message).toMatch(/'a': must be int32$/)
  })

  test('that nobody has asked for of late is opened again', async () => {
    const schemas = open()
    // More than are kept of one project.
    const all = Array.from({ length: 25 }, (_, i) => json({ title: `${i}`.padEnd(60_000, 'x'), type: 'array' }))
    for (const schema of all) await schemas.check('p', schema, [bytes([])])
    for (const schema of all) expect((await failureOf(schemas.check('p', schema, [bytes(1)]))).message).toMatch(/must be array$/)
  })
})

describe('a thread that ends', () => {
  test('is followed by another, which opens what is needed', async () => {
    const schemas = open()
    await schemas.check('p', NUMBERED, [bytes({ a: 1 })])
    const under = failureOf(schemas.check('p', BACKTRACKING, [WORD]))
    const ended = schemas.close()
    expect(await under).toMatchObject({ code: 'unavailable' })
    await ended
    await schemas.check('p', NUMBERED, [bytes({ a: 1 })])
    expect((await failureOf(schemas.check('p', NUMBERED, [bytes({})]))).message).toMatch(/missing properties: 'a'$/)
  })
})
