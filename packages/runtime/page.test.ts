// Pages: sizes and tokens as callers may send them.
import { describe, expect, it } from 'vitest'
import { encodeToken, pageSize, pageToken, several, single } from './page.ts'

describe('a parameter', () => {
  it('may be spelt in either way', () => {
    expect([single({ pageSize: '1' }, 'pageSize'), single({ page_size: '1' }, 'pageSize')]).toEqual(['1', '1'])
    expect(several({ eventTypes: 'a', event_types: ['b', 'c'] }, 'eventTypes')).toEqual(['a', 'b', 'c'])
    expect([single({}, 'pageSize'), several({}, 'eventTypes')]).toEqual([undefined, undefined])
  })

  it('that stands once may not stand twice', () => {
    expect(() => single({ field: ['a', 'b'] }, 'field')).toThrow('field: expected one value, got 2')
    expect(() => single({ pageSize: '1', page_size: '1' }, 'pageSize')).toThrow('pageSize: expected one value, got 2')
  })
})

describe('a page', () => {
  it.each([
    [undefined, 50],
    ['1', 1],
    ['100', 100],
    ['999999', 100],
  ])('of size %s holds %i', (text, size) => {
    expect(pageSize(text === undefined ? {} : { pageSize: text }, 50, 100)).toBe(size)
  })

  it.each(['0', '-1', '1.5', 'x', '', ' 1', '1e3', '9999999'])('of size %j is refused', text => {
    expect(() => pageSize({ pageSize: text }, 50, 100)).toThrow('pageSize: expected a whole number from 1 to 100')
  })

  it.each(['a', '1700000000000-1', 'æ 😀', '__proto__', 'x'.repeat(1000)])('goes on after %j', place => {
    expect(pageToken({ pageToken: encodeToken(place) })).toBe(place)
  })

  it.each(['%', 'a b', 'YQ==', '_w', 'YR'])('goes on after no token like %j', token => {
    expect(() => pageToken({ pageToken: token })).toThrow('pageToken: expected the nextPageToken of an earlier page')
  })

  it('is the first without a token or with an empty one', () => {
    expect([pageToken({}), pageToken({ page_token: '' })]).toEqual([undefined, undefined])
  })
})
