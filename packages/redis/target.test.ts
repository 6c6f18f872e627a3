// TELLTALE_REDIS_URL as a table.
import { describe, expect, it } from 'vitest'
import { describeTarget, parseRedisUrl } from './target.ts'

const plain = { username: undefined, password: undefined, db: 0, tls: false }

describe('TELLTALE_REDIS_URL', () => {
  it.each([
    ['redis://cache', { ...plain, addresses: [{ host: 'cache', port: 6379 }] }],
    ['redis://cache:7000/3', { ...plain, addresses: [{ host: 'cache', port: 7000 }], db: 3 }],
    ['rediss://u:p%40ss@[::1]:1/', { addresses: [{ host: '::1', port: 1 }], username: 'u', password: 'p@ss', db: 0, tls: true }],
    ['redis://:secret@a:1', { ...plain, addresses: [{ host: 'a', port: 1 }], password: 'secret' }],
    [
      'redis://:s@a:1, b:2,redis://c',
      {
        ...plain,
        password: 's',
        addresses: [
          { host: 'a', port: 1 },
          { host: 'b', port: 2 },
          { host: 'c', port: 6379 },
        ],
      },
    ],
  ])('%s is understood', (text, target) => {
    expect(parseRedisUrl(text)).toEqual(target)
  })

  it.each([
    '',
    'cache:6379',
    'http://cache',
    'redis://',
    'redis://a:99999',
    'redis://a/x',
    'redis://a?db=1',
    'redis://u:%zz@a',
    'redis://a,rediss://b',
    'redis://:secret@a,redis://:other@b',
    'redis://a/1,b',
    'redis://a,b/1',
    'redis://a,',
  ])('"%s" is refused, naming the setting', text => {
    expect(() => parseRedisUrl(text)).toThrow(
      expect.objectContaining({ code: 'setup', message: expect.stringContaining('TELLTALE_REDIS_URL') }),
    )
  })

  it('never repeats a password', () => {
    const target = parseRedisUrl('redis://user:secret@a:1,b:2')
    expect(describeTarget(target)).toBe('a:1,b:2')
    for (const text of [
      'redis://user:se#cret@a:1',
      'redis://user:secret@a:1/x',
      'http://user:secret@a',
      'redis://u:secret@a,redis://u:secrets@b',
    ])
      expect(() => parseRedisUrl(text)).toThrow(expect.objectContaining({ message: expect.not.stringContaining('cret') }))
  })
})
