// What a follower may ask for, in either spelling, and what is refused.
import { describe, expect, it } from 'vitest'
import type { LabelMatch } from '../../packages/core/device.ts'
import { parseQueryText, parseStreamQuery } from './query.ts'

const filterOf = (text: string) => {
  const { filter } = parseQueryText(text).wants
  if (!filter) throw new Error('everything')
  return filter
}

describe('a stream query', () => {
  it('asks for everything when it asks for nothing', () => {
    const everything = {
      wants: { filter: undefined, policy: 'disconnect' },
      pingMs: undefined,
      cursor: undefined,
      sinceUs: undefined,
    }
    expect(parseQueryText('')).toEqual(everything)
    expect(parseQueryText('token=y')).toEqual(everything)
  })

  it.each(['device_ids', 'deviceIds', 'device_types', 'deviceTypes', 'event_types', 'eventTypes', 'product_numbers', 'productNumbers'])(
    'takes %s once and repeated',
    name => {
      const sets = (text: string) => Object.values(filterOf(text)).filter(value => value instanceof Set)
      expect(sets(`${name}=a`)).toEqual([new Set(['a'])])
      expect(sets(`${name}=a&${name}=b`)).toEqual([new Set(['a', 'b'])])
    },
  )

  it('joins both spellings', () => {
    expect(filterOf('device_ids=a&deviceIds=b&deviceIds=c').deviceIds).toEqual(new Set(['a', 'b', 'c']))
    expect(filterOf('label_filters=zone%3Dnorth&labelFilters=cold').labels).toEqual([
      { key: 'zone', value: 'north' },
      { key: 'cold', value: undefined },
    ])
  })

  it('says what several labels mean, or takes what holds here', () => {
    const matchOf = (text: string, fallback?: LabelMatch) => parseQueryText(text, undefined, fallback).wants.filter?.labelMatch
    const two = 'label_filters=zone&label_filters=site'
    expect([matchOf(two), matchOf(two, 'any'), matchOf(`${two}&label_match=any`)]).toEqual(['all', 'any', 'any'])
    expect(matchOf(`${two}&labelMatch=all`, 'any')).toBe('all')
  })

  it('with one label is the same either way', () => {
    expect(filterOf('label_filters=zone&label_match=any')).toEqual(filterOf('label_filters=zone'))
    expect(parseQueryText('label_match=any').wants.filter).toBeUndefined()
  })

  it('in the address of one device asks for that one', () => {
    expect(parseStreamQuery({}, 'a').wants.filter?.deviceIds).toEqual(new Set(['a']))
    expect(parseStreamQuery({ deviceIds: ['b', 'a'] }, 'a').wants.filter?.deviceIds).toEqual(new Set(['a']))
    expect(() => parseStreamQuery({ deviceIds: ['b'] }, 'a')).toThrow('deviceIds: expected a, the device of the address')
  })

  it.each([
    ['10s', 10_000],
    ['1s', 1000],
    ['1.5s', 1500],
    ['3600s', 3_600_000],
  ])('takes a ping every %s', (text, ms) => {
    expect(parseQueryText(`ping_interval=${text}`).pingMs).toBe(ms)
    expect(parseQueryText(`pingInterval=${text}`).pingMs).toBe(ms)
  })

  it.each(['disconnect', 'drop', 'latest'])('takes the policy %s for slow readers', policy => {
    expect(parseQueryText(`slow_policy=${policy}`).wants.policy).toBe(policy)
  })

  it('takes the id of the last event as a parameter, for clients that can set no header', () => {
    expect(parseQueryText('lastEventId=x&cursor=y').cursor).toBe('x')
    expect(parseQueryText('cursor=y').cursor).toBe('y')
  })

  it.each([
    ['ping_interval=0.5s', 'pingInterval: expected seconds from 1s to 3600s such as 10s, got 0.5s'],
    ['ping_interval=10', 'pingInterval: expected'],
    ['ping_interval=1m', 'pingInterval: expected'],
    ['ping_interval=1e1s', 'pingInterval: expected'],
    ['ping_interval=-5s', 'pingInterval: expected'],
    ['ping_interval=1s&ping_interval=2s', 'pingInterval: expected one value, got several'],
    ['ping_interval=1s&pingInterval=1s', 'pingInterval: expected one value, got several'],
    ['device_ids=', 'deviceIds'],
    ['cursor=', 'cursor: expected a value, got an empty one'],
    ['event_types=a%20b', 'eventTypes: expected 1 to 64 characters'],
    ['device_types=a%20b', 'deviceTypes: expected 1 to 64 characters'],
    ['label_filters=%3Dx', 'labelFilters: expected a key before the =, got =x'],
    ['label_match=some&label_filters=a', 'labelMatch: expected all or any'],
    ['label_match=', 'labelMatch'],
    ['label_match=all&label_match=any', 'labelMatch: expected one value, got several'],
    ['since=yesterday', 'since: expected an RFC 3339 time'],
    ['slowPolicy=block', 'slowPolicy: expected disconnect, drop, latest, got block'],
    ['cursor=a&cursor=b', 'cursor: expected one value, got several'],
    ['colour=blue', 'colour: unknown parameter'],
  ])('%s is refused', (text, message) => {
    expect(() => parseQueryText(text)).toThrow(message)
  })

  it('is refused when it is longer than anybody needs', () => {
    expect(() => parseQueryText(Array.from({ length: 1001 }, () => 'device_ids=a').join('&'))).toThrow('deviceIds')
    expect(() => parseQueryText(`ping_interval=${'9'.repeat(400)}`)).toThrow('pingInterval: ')
  })
})
