// Appending what was read from the log, on a real Redis: the place moves with it, or neither happens.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { DEVICES } from '../../core/stream.ts'
import { freshProject, installed, openTestRedis, type TestRedis } from '../fixture.ts'
import { projectKey } from '../key.ts'
import { Log, type Move } from '../log.ts'
import { DurableStreams } from './stream.ts'

describe.skipIf(installed === undefined)('an append that moves a place', () => {
  let server: TestRedis
  let streams: DurableStreams
  let log: Log
  beforeAll(async () => {
    server = await openTestRedis()
    streams = new DurableStreams(server.redis)
    log = new Log(server.redis, [])
  })
  afterAll(() => server.stop())

  async function open(name = 's') {
    const project = freshProject()
    const ref = { project, record: await streams.ensure(project, name) }
    const note = projectKey(project, 'note')
    const move = (from: string, to: string): Move => ({ consumer: 'c', from, to, commands: [['HSET', note, 'said', to]] })
    const state = async () => ({
      messages: (await streams.read(ref, 0, 10)).map(({ payload, name: of, number }) => [String(payload), of, number]),
      place: await log.place(project, 'c'),
      said: await server.redis.hget(note, 'said'),
    })
    return { project, ref, move, state }
  }
  const message = (text: string) => ({ payload: Buffer.from(text), name: 'n' })

  test('appends, moves and writes what goes with it', async () => {
    const { move, ref, state } = await open()
    expect(await streams.appendMoving(ref, [message('a'), message('b')], move('', '1-0 1'))).toBe(true)
    expect(await state()).toEqual({
      messages: [
        ['a', 'n', 1],
        ['b', 'n', 2],
      ],
      place: '1-0 1',
      said: '1-0 1',
    })
  })

  test('does nothing when the place is another one', async () => {
    const { move, ref, state } = await open()
    await streams.appendMoving(ref, [message('a')], move('', '1-0 1'))
    const before = await state()
    expect(await streams.appendMoving(ref, [message('a')], move('', '1-0 1'))).toBe(false)
    expect(await state()).toEqual(before)
  })

  test('does nothing when the stream is gone, or belongs to a producer', async () => {
    const { move, project, ref, state } = await open()
    const owned = { project, record: await streams.create(project, 'owned') }
    await streams.append(owned, [message('mine')], { owner: 'me' })
    await expect(streams.appendMoving(owned, [message('a')], move('', '1-0 1'))).rejects.toMatchObject({ code: 'conflict', field: 'owner' })
    await streams.remove(project, 's')
    await expect(streams.appendMoving(ref, [message('a')], move('', '1-0 1'))).rejects.toMatchObject({ code: 'not_found' })
    expect(await state()).toEqual({ messages: [], place: '', said: null })
  })

  test('is all that is appended to the stream of the devices', async () => {
    const { move, ref, state } = await open(DEVICES)
    await expect(streams.append(ref, [message('a')])).rejects.toMatchObject({ code: 'forbidden' })
    expect(await streams.appendMoving(ref, [message('b')], move('', '1-0 1'))).toBe(true)
    expect((await state()).messages).toEqual([['b', 'n', 1]])
  })

  test('finds the stream of the devices once, however many look for it at the same time', async () => {
    const project = freshProject()
    const others = Array.from({ length: 5 }, () => new DurableStreams(server.redis))
    expect(await streams.made(project)).toEqual([])
    const found = await Promise.all([
      ...others.map(one => one.get(project, DEVICES)),
      ...others.map(async one => (await one.list(project))[0]),
    ])
    expect(new Set(found.map(record => record?.uid)).size).toBe(1)
  })
})
