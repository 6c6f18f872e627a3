// Page tokens as callers may send them.
import { describe, expect, it } from 'vitest'
import { decodeToken, encodeToken, pageIn } from './page.ts'

describe('a page', () => {
  it.each(['a', '1700000000000-1', 'æ 😀', '__proto__', 'x'.repeat(1000)])('goes on after %j', place => {
    expect(decodeToken(encodeToken(place))).toBe(place)
  })

  it.each(['%', 'a b', 'YQ==', '_w', 'YR'])('goes on after no token like %j', token => {
    expect(() => decodeToken(token)).toThrow('pageToken: expected the nextPageToken of an earlier page')
  })

  it('of what is held as a whole begins after the one before, and the last has no token', () => {
    const all = ['c', 'a', 'e', 'b', 'd']
    const first = pageIn(all, name => name, { pageSize: 2 })
    const second = pageIn(all, name => name, { pageSize: 3, pageToken: first.nextPageToken })
    expect([first.page, second]).toEqual([['a', 'b'], { page: ['c', 'd', 'e'], nextPageToken: '' }])
    expect(pageIn(all, name => name, {})).toEqual({ page: ['a', 'b', 'c', 'd', 'e'], nextPageToken: '' })
  })

  it('is the first without a token or with an empty one', () => {
    expect([decodeToken(undefined), decodeToken('')]).toEqual([undefined, undefined])
  })
})
