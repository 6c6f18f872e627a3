// Which changes of sessions are news to a gateway, in whatever order it hears of them.
import { describe, expect, it } from 'vitest'
import { type IsNews, News } from './news.ts'

/** Each says of which filter, or of the whole session where there is none. */
type Step = readonly [how: 'answered' | 'told' | 'read', number: number, filter?: string]

describe('a change of a session', () => {
  it.each<readonly [string, readonly Step[], Step, boolean]>([
    ['is news', [], ['told', 10, 'f'], true],
    ['is none that was read', [['read', 10]], ['told', 10, 'f'], false],
    ['is none that was told of before its answer', [['told', 11, 'f']], ['answered', 10, 'f'], false],
    ['is none before what was answered', [['answered', 12, 'f']], ['told', 11, 'f'], false],
    ['is news of another filter, which another gateway changed', [['answered', 12, 'f']], ['told', 11, 'g'], true],
    ['is none of a session that ended since', [['answered', 12]], ['told', 11, 'f'], false],
    [
      'is news after all that was answered',
      [
        ['answered', 12, 'f'],
        ['told', 12, 'f'],
      ],
      ['told', 13, 'f'],
      true,
    ],
    [
      'is news when the changes are numbered anew',
      [
        ['told', 12, 'f'],
        ['answered', 14, 'f'],
        ['told', 14, 'f'],
      ],
      ['told', 3, 'f'],
      true,
    ],
  ])('%s', (_, before, last, expected) => {
    const news = new News()
    const say = ([how, number, filter]: Step): IsNews | undefined => {
      if (how === 'told') return news.told('s', number)
      if (how === 'answered') return news.answered('s', number, filter === undefined ? undefined : [filter])
      news.read(number)
      return undefined
    }
    for (const step of before) say(step)
    expect(say(last)?.(last[2])).toBe(expected)
  })

  it('that ended the session ends no filter that was granted since', () => {
    const news = new News()
    news.answered('s', 12, ['f'])
    const isNews = news.told('s', 11)
    expect([isNews(), isNews('f'), isNews('g')]).toEqual([true, false, true])
  })
})
