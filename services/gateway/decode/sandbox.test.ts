// Other people's code, run apart: what it may, what stops it, and that nobody else notices.
import { afterAll, describe, expect, it } from 'vitest'
import { Failure } from '../../../packages/core/failure.ts'
import { Sandbox } from './sandbox.ts'
import { SandboxRuntime } from './sandboxruntime.ts'
import { SandboxThread } from './sandboxthread.ts'

/** A thread runs what is built. */
const PROGRAM = new URL('../../../dist/services/gateway/decode/sandboxthread.js', import.meta.url)
const sandbox = new Sandbox(new SandboxThread(PROGRAM))
afterAll(() => sandbox.close())

const decode = (body: string) => `function decode(input) { ${body} }`
const run = (body: string, input: unknown = {}, project = 'p') => sandbox.run(project, decode(body), 'decode', input)

async function failureOf(work: Promise<unknown>): Promise<Failure> {
  const failure = await work.then(
    value => new Error(`not refused: ${JSON.stringify(value)}`),
    (error: unknown) => error,
  )
  if (failure instanceof Failure) return failure
  throw failure
}
const refusal = async (work: Promise<unknown>) => (await failureOf(work)).message

describe('code', () => {
  it('is given its input and what it returns comes back as JSON', async () => {
    expect(await run('return { sum: input.bytes[0] + input.bytes[1], when: new Date(0), big: 2n ** 70n }', { bytes: [1, 2] })).toEqual({
      sum: 3,
      when: '1970-01-01T00:00:00.000Z',
      big: '1180591620717411303424',
    })
    expect(await run('')).toBeNull()
  })

  it('may log, and is heard by nobody', async () => {
    expect(await run('console.log(input); return 1')).toBe(1)
  })

  it.each([
    ['what it declares', 'let count = 0; function decode() { return ++count }'],
    ['what it forgets to declare', 'function decode() { count = (globalThis.count ?? 0) + 1; return count }'],
  ])('keeps nothing from one payload for the next: %s', async (_, code) => {
    expect([await sandbox.run('p', code, 'decode', {}), await sandbox.run('p', code, 'decode', {})]).toEqual([1, 1])
  })

  it('is answered in its order', async () => {
    const answered: unknown[] = []
    await Promise.all(Array.from({ length: 250 }, (_, i) => run('return input.i', { i }).then(found => answered.push(found))))
    expect(answered).toEqual(Array.from({ length: 250 }, (_, i) => i))
  })
})

describe('code sees', () => {
  it.each(['process', 'require', 'fetch', 'setTimeout', 'setInterval', 'module', 'Buffer', 'WebAssembly', 'XMLHttpRequest', 'std', 'os'])(
    'no %s',
    async name => {
      expect(await run(`return typeof ${name} + typeof globalThis.${name}`)).toBe('undefinedundefined')
    },
  )

  it.each([
    ['constructor.constructor', "return [].constructor.constructor('return process')()"],
    ['the constructor of its input', "return input.constructor.constructor('return process')()"],
    ['eval', "return (0, eval)('process')"],
    ['this', 'return (function () { return this })().process.exit()'],
    ['an error of the runner', 'try { null.x } catch (e) { return e.constructor.constructor("return process")() }'],
  ])('no host by %s', async (_, body) => {
    expect(await refusal(run(body))).toMatch(/^code: (ReferenceError|TypeError): /)
  })

  it('no modules', async () => {
    expect(await refusal(run("return import('node:fs')"))).toMatch(/the result is a promise/)
    expect(await refusal(sandbox.check("import fs from 'node:fs'\nfunction decode() {}", 'decode', 'code'))).toMatch(/^code: SyntaxError/)
  })

  it('nothing of ours that it could spoil', async () => {
    const polluting =
      'Object.prototype.polluted = 1; Array.prototype.push = null; JSON.stringify = () => "{}"; JSON.parse = null; return {a: [1]}'
    expect(await run(polluting)).toMatchObject({ a: [1] })
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined()
    const own = (await run(`return JSON.parse('{"__proto__": {"polluted": 1}}')`)) as object
    expect([Object.keys(own), ({} as Record<string, unknown>)['polluted']]).toEqual([['__proto__'], undefined])
  })
})

/** Threat 33: killed within 200 ms; much more is given here only for what a busy machine adds. */
const BOMBS: readonly (readonly [string, string, RegExp])[] = [
  ['an endless loop', 'for (;;) {}', /took longer than 50 ms/],
  ['one that catches everything', 'for (;;) { try { for (;;) {} } catch (e) { e = 1 } finally { continue } }', /took longer than 50 ms/],
  ['a pattern that backtracks', "return /(a+)+$/.test('a'.repeat(50) + '!')", /took longer than 50 ms/],
  ['a loop that the interpreter does not see', 'return [].indexOf.call({ length: 1e15 }, 1)', /took longer than 50 ms/],
  ['a getter behind the result', 'return { toJSON() { for (;;) {} } }', /took longer than 50 ms/],
  ['an error that never ends', 'throw { get message() { for (;;) {} }, __proto__: Error.prototype }', /took longer than 50 ms/],
  ['lists without end', 'const all = []; for (;;) all.push(new Array(1000).fill(1))', /took longer than 50 ms|more memory/],
  ['texts without end', "let s = 'x'; for (;;) s += s", /string too long|more memory|took longer/],
  ['one huge text', "return 'x'.repeat(1e9).length", /more memory/],
  ['one huge list', 'return new Uint8Array(1e9).length', /more memory|invalid/],
  ['huge numbers', 'let b = 3n; for (;;) b *= b', /took longer|BigInt is too large|more memory/],
  ['recursion', 'return decode(input) + 1', /stack overflow/],
  ['nesting', 'let a = []; for (let i = 0; i < 1e5; i++) a = [a]; return a', /stack overflow|took longer|circular/],
  ['a result that is too long', "return 'x'.repeat(300000)", /expected at most 262144/],
  ['deep brackets', "return eval('['.repeat(1e6))", /stack overflow/],
]

describe('ended is', () => {
  it.each(BOMBS)('%s, and neighbours are answered', async (name, body, message) => {
    const startMs = performance.now()
    const bomb = refusal(run(body, {}, `bomb ${name}`))
    const neighbours = Promise.all([run('return input.i', { i: 1 }, 'n1'), run('return input.i', { i: 2 }, 'n2')])
    expect(await bomb).toMatch(message)
    expect(await neighbours).toEqual([1, 2])
    expect(performance.now() - startMs).toBeLessThan(15_000)
  })

  it('nobody else in the same batch', async () => {
    const body = 'if (input.bad) [].indexOf.call({ length: 1e15 }, 1); return input.i'
    const inputs = Array.from({ length: 20 }, (_, i) => ({ i, bad: i === 7 }))
    const settled = await Promise.allSettled(inputs.map(input => run(body, input, 'batch')))
    expect(settled.map(one => (one.status === 'fulfilled' ? one.value : 'refused'))).toEqual(
      inputs.map(({ i, bad }) => (bad ? 'refused' : i)),
    )
  })
})

it('a thread that code ended is there again before others have their turn', async () => {
  const thread = new SandboxThread(PROGRAM)
  const script = { key: 'k', code: decode('if (input.bad) [].indexOf.call({ length: 1e15 }, 1); return 1'), entry: 'decode' as const }
  expect(await thread.run({ script, inputs: ['{"bad":true}'], limitMs: 50 })).toEqual({ answers: [], ended: true })
  expect(thread.isStarted).toBe(true)
  expect(await thread.run({ script, inputs: ['{}'], limitMs: 50 })).toEqual({ answers: [{ json: '1' }], ended: false })
  await thread.close()
})

it('code that only says that memory has run out takes nothing from others', async () => {
  const runtime = new SandboxRuntime()
  await runtime.load()
  const run = (body: string) => runtime.run({ key: body, code: decode(body), entry: 'decode' }, '{}', 1000, () => {})
  const said = "const e = new Error('out of memory'); e.name = 'InternalError'; throw e"
  expect(await run(said)).toEqual({ mistake: 'used more memory than it may' })
  expect(await run('const all = []; for (;;) all.push(new Array(1000).fill(1))')).toMatchObject({ isSpent: true })
})

it('code that is ended three times rests, and only that code', async () => {
  const loop = () => refusal(run('for (;;) {}', {}, 'striker'))
  await loop()
  await loop()
  await loop()
  expect(await loop()).toMatch(/^code: took too much time or memory 3 times and rests for \d+s$/)
  expect(await run('return 1', {}, 'striker')).toBe(1)
})

it('a project with many slow payloads leaves others their turn', async () => {
  const order: string[] = []
  const slow = Array.from({ length: 12 }, () =>
    run('const end = Date.now() + 25; while (Date.now() < end); return 1', {}, 'slow').then(() => order.push('slow')),
  )
  const quick = Array.from({ length: 12 }, (_, i) => run('return input.i', { i }, 'quick').then(() => order.push('quick')))
  await Promise.all([...slow, ...quick])
  expect(order.lastIndexOf('quick')).toBeLessThan(order.lastIndexOf('slow') - 6)
})

it('too much that waits is to be sent again', async () => {
  const text = 'x'.repeat(4 * 1024 * 1024)
  const calls = await Promise.allSettled(Array.from({ length: 6 }, () => run('return 1', { text }, 'much')))
  const failures = calls.filter(call => call.status === 'rejected').map(call => call.reason as Failure)
  expect(failures.length).toBeGreaterThan(0)
  expect(failures.every(({ code, retryAfterMs }) => code === 'unavailable' && retryAfterMs === 1000)).toBe(true)
})

describe('checked, code', () => {
  it.each([
    ['that cannot be read', 'let a = 1\nlet b = ;', /^options\.code: SyntaxError: .*\(line 2, column 9\)$/],
    ['with a bracket too many', 'function decode() {} }', /^options\.code: SyntaxError: /],
    ['that hides one', '} ; (function () { return { decode() {} } })(); {', /^options\.code: SyntaxError: /],
    ['without the function', 'function other() {}', /^options\.code: TypeError: expected a function decode\(input\)$/],
    [
      'that needs what there is not',
      "const fs = require('fs')\nfunction decode() {}",
      /^options\.code: ReferenceError: 'require' is not defined/,
    ],
    ['that never ends', 'for (;;) {}\nfunction decode() {}', /^options\.code: took longer than 50 ms$/],
    ['that is too long', `/*${'x'.repeat(70_000)}*/`, /^options\.code: expected at most 65536 characters$/],
  ])('%s is refused', async (_, code, message) => {
    expect(await refusal(sandbox.check(code, 'decode', 'options.code'))).toMatch(message)
  })

  it('of every kind that LoRaWAN has is taken', async () => {
    for (const code of ['decodeUplink', 'Decoder', 'Decode']) await sandbox.check(`function ${code}() {}`, 'uplink', 'code')
    await sandbox.check("'use strict'\nvar decodeUplink = input => ({ data: {} }) // as one line", 'uplink', 'code')
  })
})
