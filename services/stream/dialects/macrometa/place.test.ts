// Names and paths of the dialect, row by row (contracts.md 2.a.1, 2.a.3).
import { describe, expect, it } from 'vitest'
import { Failure } from '../../../../packages/core/failure.ts'
import { parsePlace } from './place.ts'
import { newTopic, parseTopic, topicOf } from './topic.ts'

const codeOf = (act: () => unknown) => {
  try {
    return act()
  } catch (error) {
    return error instanceof Failure ? error.code : error
  }
}

describe('a topic', () => {
  it.each([
    ['c8globals.readings', { stream: 'readings', local: false }],
    ['c8locals.readings', { stream: 'c8locals.readings', local: true }],
    ['c8globals.a/b c', { stream: 'a/b c', local: false }],
    ['readings', undefined],
    ['c8globals.', undefined],
    ['c8globals.c8locals.readings', undefined],
    ['c8locals.c8globals.readings', undefined],
    ['C8globals.readings', undefined],
    ['', undefined],
  ])('%s is the stream %o', (topic, expected) => {
    expect(parseTopic(topic)).toEqual(expected && { topic, ...expected })
  })

  it('of a stream leads back to it', () => {
    for (const stream of ['readings', 'c8locals.readings', 'a/b']) expect(parseTopic(topicOf(stream).topic)?.stream).toBe(stream)
  })

  it('is made of a name with or without its own prefix, and not with the other', () => {
    for (const name of ['x', 'c8globals.x']) expect(newTopic(name, false).topic).toBe('c8globals.x')
    for (const name of ['x', 'c8locals.x']) expect(newTopic(name, true).topic).toBe('c8locals.x')
    expect([codeOf(() => newTopic('c8locals.x', false)), codeOf(() => newTopic('c8globals.x', true))]).toEqual(['invalid', 'invalid'])
  })
})

describe('the path of a WebSocket', () => {
  const at = (rest: string) => `/_ws/ws/v2/x/persistent/${rest}`

  it.each([
    ['producer', at('acme/c8global._system/c8globals.a'), ['acme', 'a', '']],
    ['reader', at('acme/c8local._system/c8locals.a?messageId=earliest'), ['acme', 'c8locals.a', '']],
    ['consumer', at('acme/c8global._system/c8globals.a/sub'), ['acme', 'a', 'sub']],
    ['consumer', at('acme/c8global._system/c8globals.a/b/c/sub'), ['acme', 'a/b/c', 'sub']],
    ['producer', at('acme/c8global._system/c8globals.a/b/c'), ['acme', 'a/b/c', '']],
    ['consumer', at('acme/c8global._system/c8globals.a%2Fb/s%20u%2Fb'), ['acme', 'a/b', 's u/b']],
    // Once.
    ['producer', at('acme/c8global._system/c8globals.a%2520b'), ['acme', 'a%20b', '']],
  ] as const)('of a %s %s leads to %o', (kind, url, [tenant, stream, subscription]) => {
    const place = parsePlace(kind, url)
    expect([place.tenant, place.topic.stream, place.subscription]).toEqual([tenant, stream, subscription])
  })

  it.each([
    ['producer', at(''), 'invalid'],
    ['producer', at('acme'), 'invalid'],
    ['producer', at('acme/c8global._system'), 'invalid'],
    ['producer', at('acme/c8global._system/'), 'invalid'],
    ['producer', at('acme//c8globals.a'), 'invalid'],
    ['producer', at('/c8global._system/c8globals.a'), 'invalid'],
    ['producer', at('acme/default/c8globals.a'), 'invalid'],
    ['producer', at('acme/c8globals._system/c8globals.a'), 'invalid'],
    ['consumer', at('acme/c8global._system/c8globals.a'), 'invalid'],
    ['consumer', at('acme/c8global._system/c8globals.a/'), 'invalid'],
    ['producer', at('acme/c8global._system/c8globals.%E0%A4%A'), 'invalid'],
    ['producer', at('acme/c8global._system/c8globals.%FF'), 'invalid'],
    ['producer', '/_ws/ws/v2/x/non-persistent/acme/c8global._system/c8globals.a', 'invalid'],
    ['producer', at('acme/c8global.other/c8globals.a'), 'not_found'],
    ['producer', at('acme/c8global._system/a'), 'not_found'],
    ['producer', at('acme/c8local._system/c8globals.a'), 'not_found'],
    ['producer', at('acme/c8global._system/c8locals.a'), 'not_found'],
  ] as const)('of a %s %s is %s', (kind, url, code) => {
    expect(codeOf(() => parsePlace(kind, url))).toBe(code)
  })
})
