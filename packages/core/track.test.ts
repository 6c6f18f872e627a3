// Late, doubled and shuffled events: what people end up knowing is what the right order would have told them.
import { describe, expect, it } from 'vitest'
import { eventOf, known, Line, MINUTE_US, NOON_US } from './fixture.ts'
import { parseRule } from './rule.ts'
import { settleAll } from './track.ts'

const threshold = { field: 'temperature.value', above: 5, clearBelow: 4 }

describe('a late event', () => {
  const warm = parseRule({ name: 'warm', when: { threshold }, for: '5m' })
  const at = (minute: number, value: number, index = minute) => eventOf({ minute, value }, index)
  const told = (line: Line) => line.told.map(({ kind, atUs, late }) => `${kind}@${(atUs - NOON_US) / MINUTE_US}${late ? ' late' : ''}`)

  it('takes an alarm back that it shows never was', () => {
    const line = new Line(warm)
    for (const event of [at(0, 8), at(6, 8), at(3, 2)]) line.event(event)
    expect(told(line)).toEqual(['pending@0', 'active@5', 'withdrawn@3 late', 'pending@6 late'])
    expect(line.told.at(-2)?.reason).toContain('came late: it was not active')
    expect(known(line.told)).toEqual([])
  })

  it('brings an alarm to light that had seemed not to be', () => {
    const line = new Line(warm)
    for (const event of [at(0, 2), at(7, 2), at(1, 8)]) line.event(event)
    expect(told(line)).toEqual(['pending@1 late', 'active@6 late', 'cleared@7 late'])
  })

  it('lets an alarm begin earlier, which nobody needs to be told', () => {
    const line = new Line(warm)
    for (const event of [at(2, 8), at(8, 8), at(1, 8)]) line.event(event)
    expect(told(line)).toEqual(['pending@2', 'active@7', 'amended@3'].map((text, i) => (i === 2 ? 'amended@6 late' : text)))
    expect(known(line.told)[0]?.[1]).toMatchObject({ sinceUs: NOON_US + MINUTE_US, activeUs: NOON_US + 6 * MINUTE_US })
  })

  it('that came before is judged once', () => {
    const line = new Line(warm)
    for (const event of [at(0, 8), at(0, 8)]) line.event(event)
    expect(line.reason).toBe('this event has been judged already')
    expect(told(line)).toEqual(['pending@0'])
  })

  it('beyond the allowed lateness changes nothing, and says so', () => {
    const line = new Line(parseRule({ name: 'warm', when: { threshold } }))
    for (const event of [at(30, 2), at(5, 8)]) line.event(event)
    expect(line.told).toEqual([])
    expect(line.reason).toMatch(/^older than late events may be.*ignored$/)
  })

  it('beyond the allowed lateness amends where the rule says so', () => {
    const line = new Line(parseRule({ name: 'warm', when: { threshold }, late: 'amend' }))
    for (const event of [at(60, 2), at(5, 8), at(15, 8), at(20, 2)]) line.event(event)
    expect(told(line)).toEqual(['amended@5 late', 'amended@20 late'])
    expect(line.told.at(-1)).toMatchObject({ activeUs: NOON_US + 5 * MINUTE_US, clearedUs: NOON_US + 20 * MINUTE_US })
    expect(line.track.current.phase).toBe('clear')
  })

  it('beyond it, in between others that were not, makes no alarm that never was', () => {
    const line = new Line(parseRule({ name: 'warm', when: { threshold }, for: '5m', late: 'amend' }))
    for (const event of [at(60, 2), at(1, 8), at(61, 2), at(20, 8), at(62, 2), at(40, 2)]) line.event(event)
    expect(line.told).toEqual([])
  })

  it('finds the silence judged again as it was, whoever has listened since', () => {
    const line = new Line(parseRule({ name: 'silent', when: { absent: { eventType: 'temperature', for: '90m' } } }))
    const heard = (minute: number, sinceMinute: number) => ({ ...at(minute, 5), listeningSinceUs: NOON_US + sinceMinute * MINUTE_US })
    for (const event of [heard(0, -600), heard(240, -600), heard(300, 276), heard(299, 276)]) line.event(event)
    expect(told(line)).toEqual(['active@90', 'cleared@240'])
  })

  it('stands as it was told after a restart', () => {
    const line = new Line(
      parseRule({ name: 'few', when: { window: { eventType: 'temperature', function: 'count', over: '1h', below: 3 } } }),
    )
    const since = (minute: number, sinceMinute: number) => ({ ...at(minute, 5), listeningSinceUs: NOON_US + sinceMinute * MINUTE_US })
    for (const event of [since(0, -600), since(10, -600), since(20, -600), since(110, 109)]) line.event(event)
    const before = line.told.length
    line.restart()
    expect(line.track.current.phase).toBe(line.told.at(-1)?.clearedUs === undefined && before > 0 ? 'active' : 'clear')
  })

  it('of a clock that stands still is judged, and not kept for ever', () => {
    const line = new Line(parseRule({ name: 'warm', when: { threshold } }))
    for (let i = 0; i < 1000; i++) line.event(eventOf({ minute: 7, value: i % 2 === 0 ? 2 : 8 }, i))
    expect(line.kept).toBeLessThan(200)
    expect(line.track.current).toMatchObject({ phase: 'active', episode: 500 })
    line.restart()
    line.event(eventOf({ minute: 7, value: 2 }, 1001))
    expect(line.track.current.phase).toBe('clear')
  })

  it('at the same moment as another counts too, whichever came first', () => {
    const rule = parseRule({ name: 'warm', when: { threshold } })
    const [low, high] = [at(1, 2, 1), at(1, 8, 2)]
    for (const order of [
      [low, high],
      [high, low],
    ]) {
      const line = new Line(rule)
      for (const event of order) line.event(event)
      expect(line.track.current.phase).toBe('active')
    }
  })
})

describe('an edited rule', () => {
  it.each([
    ['10m', 10],
    ['1h', 60],
  ])('waits for what it says now: %s in place of 30m', (hold, due) => {
    const held = (time: string) => parseRule({ name: 'warm', when: { threshold }, for: time })
    const line = new Line(held('30m'))
    for (const minute of [0, 1]) line.event(eventOf({ minute, value: 8 }, minute))
    const { current, settled } = settleAll(held(hold), line.track, [])
    expect((current.dueUs ?? 0) - NOON_US).toBe(due * MINUTE_US)
    expect(settled).toBe(current)
  })
})
