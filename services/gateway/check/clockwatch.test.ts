// Which clocks are called wrong, and when they are right again.
import { describe, expect, it } from 'vitest'
import { ClockWatch } from './clockwatch.ts'

const NOW_US = Date.UTC(2026, 0, 31, 12) * 1000
const SECOND = 1_000_000

function watchOf() {
  const watch = new ClockWatch()
  let nowUs = NOW_US
  const states = () =>
    [...watch.take()].flatMap(([project, changes]) =>
      [...changes].map(([device, clock]) => `${project} ${device} ${clock?.state ?? 'right'}`),
    )
  const say = (aheadS: number, everyS = 10, device = 'a') => {
    nowUs += everyS * SECOND
    watch.observe('p', device, aheadS * SECOND, nowUs)
  }
  return { watch, say, states }
}

describe('a clock', () => {
  it('is ahead at once, and right again after three events that are', () => {
    const { say, states } = watchOf()
    say(3600)
    say(3600)
    expect(states()).toEqual(['p a ahead'])
    say(0)
    say(-30)
    expect(states()).toEqual([])
    say(1)
    expect(states()).toEqual(['p a right'])
  })

  it('that begins in 1970 is not set', () => {
    const { say, states } = watchOf()
    say(-NOW_US / SECOND)
    expect(states()).toEqual(['p a unset'])
  })

  it('is behind when ten events over a minute are late by the same', () => {
    const { say, states } = watchOf()
    for (let i = 0; i < 9; i++) say(-7200 - (i % 3))
    expect(states()).toEqual([])
    say(-7201)
    expect(states()).toEqual(['p a behind'])
  })

  it('is not behind for what is sent again after an outage, nor for a burst', () => {
    const { say, states } = watchOf()
    for (let i = 0; i < 50; i++) say(-7200 + i * 60, 2)
    for (let i = 0; i < 50; i++) say(-7200, 0.01)
    expect(states()).toEqual([])
  })

  it('is nobody elses', () => {
    const { say, states } = watchOf()
    say(3600, 1, 'a')
    say(0, 1, 'b')
    expect(states()).toEqual(['p a ahead'])
  })

  it('that others found wrong is right again when it is, and what was not written is told again', () => {
    const { watch, say, states } = watchOf()
    say(0)
    expect(watch.due(0)).toEqual(['p'])
    expect(watch.due(29_000)).toEqual([])
    watch.known('p', new Map([['a', { state: 'ahead', offsetSeconds: 3600, since: '' }]]))
    for (let i = 0; i < 3; i++) say(0)
    const [[project, changes] = ['', new Map()]] = watch.take()
    watch.putBack(project, changes)
    expect(states()).toEqual(['p a right'])
  })

  it('that is right again elsewhere may be wrong again, and projects that send nothing are not asked for', () => {
    const { watch, say, states } = watchOf()
    say(3600)
    expect(states()).toEqual(['p a ahead'])
    expect(watch.due(0)).toEqual(['p'])
    watch.knownAll('p', new Set())
    say(3600)
    expect(states()).toEqual(['p a ahead'])
    expect([watch.due(30_000), watch.due(60_000), watch.due(90_000)]).toEqual([['p'], [], []])
    say(0)
    expect(watch.due(90_000)).toEqual(['p'])
  })

  it('is found however many devices are invented, in this project and in others', () => {
    const { watch, say, states } = watchOf()
    for (let i = 0; i < 25_000; i++) watch.observe('p', `d${i}`, -3600 * SECOND, NOW_US)
    for (let project = 0; project < 6; project++)
      for (let i = 0; i < 25_000; i++) watch.observe(`other${project}`, `d${i}`, -3600 * SECOND, NOW_US)
    say(3600)
    expect(states()).toEqual(['p a ahead'])
  })
})
