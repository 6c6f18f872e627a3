// Secrets that anybody can guess are known as such, and random ones never are.
import { randomBytes } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { weaknessOf } from './weakness.ts'

describe('a secret', () => {
  it.each([
    'admin',
    'changeme',
    'short-but-random',
    'changeme-changeme',
    'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
    'abababababababababab',
    'adminadminadminadmin',
    'mysupersecretpassword',
    'P4ssw0rd-P4ssw0rd!1',
    'password1234567890',
    'abcdefghijklmnopqrstuvwxyz012345',
    '0123456789012345678901234567890123456789',
    'qwertyuiopasdfghjkl',
    'please-change-this-secret-key-in-production',
    'telltale-secret-key-change-me-please',
  ])('such as %s is weak', secret => {
    const expected = secret === 'short-but-random' ? undefined : expect.any(String)
    expect(weaknessOf(secret)).toEqual(expected)
  })

  it('made of random bytes is not', () => {
    const weak = Array.from({ length: 5000 }, (_, i) => {
      const bytes = randomBytes(i % 2 === 0 ? 16 : 32)
      return i % 3 === 0 ? bytes.toString('hex') : bytes.toString('base64')
    }).filter(secret => weaknessOf(secret) !== undefined)
    expect(weak).toEqual([])
  })

  it('made of several rare words is not', () => {
    expect(weaknessOf('correct horse battery staple')).toBeUndefined()
  })
})
