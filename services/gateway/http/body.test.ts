// Packed bodies: what is broken is let go of at once, and nobody keeps the zstd decoder to themselves.
import { deflateSync, gzipSync } from 'node:zlib'
import { afterAll, describe, expect, it } from 'vitest'
import { until } from '../../../packages/log/fixture.ts'
import { Unpackers } from './body.ts'
import { Zstd } from './zstd.ts'

/** Node runs the thread from what was built. */
const PROGRAM = new URL('../../../dist/services/gateway/http/zstd.js', import.meta.url)
const zstds: Zstd[] = []
const openZstd = (queueMs?: number) => {
  const zstd = new Zstd(PROGRAM, queueMs)
  zstds.push(zstd)
  return zstd
}
afterAll(async () => {
  for (const zstd of zstds) await zstd.close()
})

const HEAD = Buffer.of(0x28, 0xb5, 0x2f, 0xfd, 0xa0, 255, 0, 0, 0)
function blockOf(text: string, isLast: boolean): Buffer {
  const header = Buffer.alloc(3)
  header.writeUIntLE((text.length << 3) | (isLast ? 1 : 0), 0, 3)
  return Buffer.concat([header, Buffer.from(text)])
}
const BEGINNING = Buffer.concat([HEAD, blockOf('a', false)])
const MORE = blockOf('b', false)
const WHOLE = Buffer.concat([HEAD, blockOf('a', true)])

/** A body that comes by hand, and what is unpacked of it. */
function bodyOf(zstd: Zstd, project: string, keyId = 'k') {
  const pieces: Buffer[] = []
  let wake = () => {}
  let ended = false
  const packed = async function* () {
    try {
      while (!ended) {
        const piece = pieces.shift()
        state.isHungry = piece === undefined
        if (piece) yield piece
        else
          await new Promise<void>(resolve => {
            wake = resolve
          })
      }
    } finally {
      ended = true
    }
  }
  const state = { isHungry: false, error: undefined as Error | undefined }
  const reading = (async () => {
    for await (const piece of zstd.unpack(packed(), { project, keyId })) expect(piece).toBeInstanceOf(Buffer)
  })().catch((error: unknown) => {
    state.error = error as Error
  })
  const send = async (piece: Buffer) => {
    await until('it can be sent', () => state.isHungry || state.error !== undefined)
    state.isHungry = false
    pieces.push(piece)
    wake()
    await until('it is unpacked', () => state.isHungry || state.error !== undefined)
    return state.error
  }
  const end = async () => {
    ended = true
    wake()
    await reading
  }
  return { send, end }
}

describe('a packed body that is broken', () => {
  const junk = Buffer.alloc(100_000, 'this was never packed')
  const packed = 'x'.repeat(1_000_000)
  const spoilt = (bytes: Buffer) => Buffer.concat([bytes.subarray(0, 20), junk])
  const bodies: [encoding: string, bytes: Buffer][] = [
    ['gzip', junk],
    ['gzip', spoilt(gzipSync(packed))],
    ['deflate', spoilt(deflateSync(packed))],
    ['deflate', Buffer.concat([Buffer.of(7), junk])],
    ['br', junk],
    ['zstd', junk],
    ['zstd', Buffer.concat([BEGINNING, junk])],
  ]
  it.each(bodies)('in %s is refused at once, and whoever sends it is let go of', async (encoding, bytes) => {
    for (const isWaiting of [false, true]) {
      let isOver = false
      let wake = () => {}
      const source = async function* () {
        try {
          yield bytes
          if (isWaiting)
            await new Promise<void>(resolve => {
              wake = resolve
            })
          for (;;) yield junk
        } finally {
          isOver = true
        }
      }
      const unpack = new Unpackers(openZstd()).of(encoding, { project: 'p', keyId: 'k' })
      const all = async () => {
        for await (const piece of unpack?.(source()) ?? []) expect(piece.length).toBeGreaterThan(0)
      }
      await expect(all()).rejects.toMatchObject({ code: 'invalid', field: 'body' })
      wake()
      await until('the source has ended', () => isOver)
    }
  })
})

describe('bodies in zstd', () => {
  it('are four of one project at a time, and a project that has none gets in, from whoever has the most', async () => {
    const zstd = openZstd()
    const open = await Promise.all(Array.from({ length: 16 }, async (_, i) => bodyOf(zstd, `p${Math.floor(i / 4)}`, `k${i}`)))
    for (const body of open) expect(await body.send(BEGINNING)).toBeUndefined()
    expect(await bodyOf(zstd, 'p0', 'another').send(BEGINNING)).toMatchObject({ code: 'unavailable', retryAfterMs: 1000 })
    const [first, second] = [bodyOf(zstd, 'q'), bodyOf(zstd, 'r')]
    expect(await first.send(BEGINNING)).toBeUndefined()
    expect(await second.send(BEGINNING)).toBeUndefined()
    const errors = await Promise.all(open.map(body => body.send(MORE)))
    expect(errors.filter(Boolean)).toMatchObject([{ code: 'unavailable' }, { code: 'unavailable' }])
    expect(await first.send(MORE)).toBeUndefined()
    for (const body of [first, second, ...open]) await body.end()
  })

  it('are of whoever has fewer, where one key of a project has all that are kept open', async () => {
    const zstd = openZstd(60_000)
    const slow = Array.from({ length: 4 }, () => bodyOf(zstd, 'p', 'slow'))
    for (const body of slow) expect(await body.send(BEGINNING)).toBeUndefined()
    const others = ['a', 'b'].map(key => bodyOf(zstd, 'p', key))
    for (const body of others) expect(await body.send(BEGINNING)).toBeUndefined()
    for (const body of others) expect(await body.send(MORE)).toBeUndefined()
    expect((await Promise.all(slow.map(body => body.send(MORE)))).filter(Boolean)).toHaveLength(2)
    for (const body of [...slow, ...others]) await body.end()
  })

  it('that are small and come together wait for each other', async () => {
    const zstd = openZstd(60_000)
    const bodies = Array.from({ length: 12 }, () => bodyOf(zstd, 'p'))
    expect((await Promise.all(bodies.map(body => body.send(WHOLE)))).filter(Boolean)).toEqual([])
    const held = Array.from({ length: 4 }, () => bodyOf(zstd, 'p'))
    for (const body of held) await body.send(BEGINNING)
    const [last] = bodies
    const sent = last?.send(WHOLE)
    await held[0]?.end()
    expect(await sent).toBeUndefined()
    for (const body of [...bodies, ...held]) await body.end()
  })

  it('hold no place before a frame, between two and behind the last, and give it up when they keep it waiting', async () => {
    const zstd = openZstd()
    const done = Array.from({ length: 20 }, () => bodyOf(zstd, 'p'))
    for (const body of done) expect(await body.send(WHOLE)).toBeUndefined()
    const open = Array.from({ length: 4 }, () => bodyOf(zstd, 'p'))
    for (const body of open) expect(await body.send(BEGINNING)).toBeUndefined()
    const late = bodyOf(zstd, 'p')
    expect(await late.send(BEGINNING)).toMatchObject({ code: 'unavailable' })
    const since = performance.now()
    await until('they have waited long enough', () => performance.now() - since > 2100)
    const [idle, ...others] = open
    for (const body of others) expect(await body.send(MORE)).toBeUndefined()
    expect(await done[0]?.send(WHOLE)).toBeUndefined()
    expect(await idle?.send(MORE)).toMatchObject({ code: 'unavailable', message: expect.stringContaining('made room') })
    for (const body of [...done, ...open]) await body.end()
  })
})
