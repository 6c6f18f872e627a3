// What a gateway knows of retained messages, in whatever order it hears of changes.
import { describe, expect, it } from 'vitest'
import type { Message } from './message.ts'
import { Standing } from './standing.ts'

const message = (text: string): Message => ({ id: text, topic: 't', qos: 1, payload: Buffer.from(text) })

type Step = readonly ['answered' | 'told', string | undefined, number]

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
  ])('is %s', (_, steps, expected) => {
    const standing = new Standing([message('read')], 5)
    for (const [how, text, version] of steps) standing[how]('t', text === undefined ? undefined : message(text), version)
    expect(standing.get('t')?.payload.toString()).toBe(expected)
  })

  it('is read again when the changes are numbered anew', () => {
    const standing = new Standing([], 0)
    expect([10, 11, 3].map(version => standing.told('t', message('x'), version))).toEqual([true, true, false])
  })
})
