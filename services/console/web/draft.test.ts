// A document changed by path, what is wrong where, and what differs.
import { describe, expect, test } from 'vitest'
import { differences, getAt, messageOf, type Path, pathText, problemsAt, setAt, written } from './draft.ts'

const doc = { name: 'warm', when: { threshold: { field: 't.v', above: 1 } }, severity: [{ at: 1, severity: 'warning' }, { at: 2 }] }

describe('a change by path', () => {
  test.each<[Path, unknown, unknown]>([
    [['name'], 'cold', { ...doc, name: 'cold' }],
    [['when', 'threshold', 'above'], 2, { ...doc, when: { threshold: { field: 't.v', above: 2 } } }],
    [['when', 'threshold', 'above'], undefined, { ...doc, when: { threshold: { field: 't.v' } } }],
    [['severity', 0], undefined, { ...doc, severity: [{ at: 2 }] }],
    [['severity', 1, 'severity'], 'critical', { ...doc, severity: [doc.severity[0], { at: 2, severity: 'critical' }] }],
    [['select', 'labels'], ['a'], { ...doc, select: { labels: ['a'] } }],
    [['notify', 0], 'ops', { ...doc, notify: ['ops'] }],
  ])('%j = %j', (path, value, expected) => {
    expect(setAt(doc, path, value)).toEqual(expected)
    expect(getAt(setAt(doc, path, value), path)).toEqual(path[1] === 0 && value === undefined ? { at: 2 } : value)
  })

  test('leaves the document it was made of, and the order of what was written', () => {
    const before = JSON.stringify(doc)
    expect(Object.keys(setAt(doc, ['when'], {}) as object)).toEqual(['name', 'when', 'severity'])
    expect(JSON.stringify(doc)).toBe(before)
  })

  test('finds nothing where there is nothing, nor what every object has', () => {
    expect(getAt(doc, ['when', 'rate', 'above'])).toBeUndefined()
    expect(getAt(doc, ['constructor', 'name'])).toBeUndefined()
  })
})

describe('a problem', () => {
  const at = (field: string) => ({ field, message: `${field}: expected a number` })
  test('stands at its field, however the server writes its place in a list', () => {
    const problems = [at('severity[0].at'), at('notify.1'), at('when.threshold.above')]
    expect(problemsAt(problems, ['severity', 0, 'at'], false)).toEqual([problems[0]])
    expect(problemsAt(problems, ['notify'], true)).toEqual([problems[1]])
    expect(problemsAt(problems, ['notify'], false)).toEqual([])
    expect(problemsAt(problems, ['when', 'threshold'], true)).toEqual([problems[2]])
    expect(problemsAt(problems, ['when', 'threshold', 'abo'], true)).toEqual([])
  })

  test('is said without its field beside the field', () => {
    expect(messageOf(at('for'))).toBe('expected a number')
    expect(messageOf({ field: 'for', message: 'too long' })).toBe('too long')
    expect(pathText(['severity', 0, 'at'])).toBe('severity[0].at')
  })
})

test('what is meant anyway is not written', () => {
  const saved = {
    name: 'a',
    version: 3,
    title: '',
    resource: 'projects/p/rules/a',
    enabled: true,
    for: '0ms',
    keepActive: '5m',
    late: 'ignore',
    groupBy: [],
  }
  expect(written(saved)).toEqual({ name: 'a', enabled: true, keepActive: '5m' })
})

test('two versions differ by the fields that say something else', () => {
  const after = {
    name: 'warm',
    when: { rate: { field: 't.v' } },
    severity: [{ at: 1, severity: 'warning' }, { at: 3 }, { at: 4 }],
    notify: ['a'],
  }
  expect(differences(doc, after)).toEqual([
    { path: 'when.threshold', from: { field: 't.v', above: 1 }, to: undefined },
    { path: 'when.rate', from: undefined, to: { field: 't.v' } },
    { path: 'severity[1].at', from: 2, to: 3 },
    { path: 'severity[2]', from: undefined, to: { at: 4 } },
    { path: 'notify', from: undefined, to: ['a'] },
  ])
  expect(differences(doc, structuredClone(doc))).toEqual([])
})
