// What a gateway knows of retained messages, in whatever order it hears of changes.
import { describe, expect, it } from 'vitest'
import type { Message } from './message.ts'
import { Standing } from './standing.ts'

const message = (text: string): Message => ({ id: text, topic: 't', qos: 1, payload: Buffer.from(text) })

type Step = readonly ['answered' | 'told' | 'read', string | undefined, number]

describe('what stands retained', () => {
  it.each<readonly [string, readonly Step[], string | undefined]>([
    [
      'a later change that was told of before its own was answered',
      [
        ['told', 'other', 11],
        ['answered', 'own', 10],
      ],
      'other',
    ],
    [
      'its own, answered after it was told of',
      [
        ['told', 'own', 10],
        ['answered', 'own', 10],
      ],
      'own',
    ],
    [
      'its own, before older ones are told of',
      [
        ['answered', 'own', 12],
        ['told', 'old', 11],
        ['told', 'own', 12],
      ],
      'own',
    ],
    [
      'what came after its own',
      [
        ['answered', 'own', 12],
        ['told', 'own', 12],
        ['told', 'new', 13],
      ],
      'new',
    ],
    [
      'nothing, when that was last',
      [
        ['answered', undefined, 12],
        ['told', 'old', 11],
      ],
      undefined,
    ],
    [
      'what another gateway had retained already, before it is told of',
      [
        ['answered', 'there', 11],
        ['told', 'old', 10],
      ],
      'there',
    ],
    [
      'what was read, whatever is told of from before',
      [
        ['told', 'old', 4],
        ['told', 'older', 5],
      ],
      'read',
    ],
    [
      'what was read later than what is told of',
      [
        ['read', 'later', 12],
        ['told', 'old', 11],
      ],
      'later',
    ],
    [
      'what came after all that was read',
      [
        ['read', 'later', 12],
        ['told', 'later', 12],
        ['told', undefined, 13],
      ],
      undefined,
    ],
    [
      'what was read last, if it was read twice',
      [
        ['read', 'later', 11],
        ['read', 'last', 12],
        ['told', 'later', 11],
      ],
      'last',
    ],
  ])('is %s', (_, steps, expected) => {
    const standing = new Standing(5)
    standing.read([message('read')], 5)
    for (const [how, text, version] of steps) {
      const one = text === undefined ? undefined : message(text)
      if (how !== 'read') standing[how]('t', one, version)
      else if (one) standing.read([one], version)
    }
    expect(standing.get('t')?.payload.toString()).toBe(expected)
  })

  it('is counted as long as it stands there', () => {
    const standing = new Standing(0)
    standing.read([message('one')], 0)
    const { bytes } = standing
    standing.answered('t', message('longer'), 1)
    expect(standing.bytes).toBe(bytes + 3)
    standing.told('t', undefined, 2)
    expect(standing.bytes).toBe(0)
  })

  it('is read again when the changes are numbered anew', () => {
    const standing = new Standing(0)
    expect([10, 11, 3].map(version => standing.told('t', message('x'), version))).toEqual([true, true, false])
  })
})
