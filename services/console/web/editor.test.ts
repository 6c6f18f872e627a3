// One rule in two tabs.
import { expect, test, vi } from 'vitest'
import { TelltaleError } from '../../../packages/client/index.ts'
import type { Json } from './draft.ts'
import { Editor } from './editor.ts'
import type { Validation } from './rule-call.ts'

type Answer = (rule: Json | string) => Validation | Error

/** A server that takes what has a name. */
const server: Answer = rule => {
  const text = typeof rule === 'string' ? rule : `name: ${String(rule['name'])}\n`
  if (!/^name: \w+/.test(text)) return { valid: false, errors: [{ field: 'name', message: 'name: expected a name', line: 1, column: 7 }] }
  return { valid: true, rule: { name: text.slice(6).trim() }, yaml: text, errors: [] }
}

function open(answer: Answer = server) {
  const asked: (Json | string)[] = []
  const editor = new Editor(
    {
      signedOut: () => undefined,
      changed: () => undefined,
      checkAfterMs: 1,
      validate: async rule => {
        asked.push(rule)
        const found = answer(rule)
        if (found instanceof Error) throw found
        return found
      },
    },
    { name: 'warm' },
  )
  return { editor, asked }
}

test('a change is checked a moment later, once, and says what is wrong', async () => {
  const { editor, asked } = open()
  await vi.waitFor(() => expect(editor.isValid).toBe(true))
  expect(editor.isDirty).toBe(false)
  editor.set(['name'], 'a')
  editor.set(['name'], '')
  expect([editor.isValid, editor.isChecking, editor.isDirty]).toEqual([false, true, true])
  await vi.waitFor(() => expect(editor.problems).toMatchObject([{ field: 'name' }]))
  expect(asked.slice(1)).toEqual([{ name: '' }])
})

test('the tabs show one document: YAML of the form, and the form of what was typed', async () => {
  const { editor } = open()
  expect(await editor.show('yaml')).toBe(true)
  expect(editor.text).toBe('name: warm\n')
  editor.type('name: cold\n')
  expect(await editor.show('form')).toBe(true)
  expect(editor.doc).toEqual({ name: 'cold' })
})

test('what is no rule stays in the YAML, and the form keeps the last that was one', async () => {
  const { editor } = open()
  await editor.show('yaml')
  editor.type('name:')
  expect(await editor.show('form')).toBe(false)
  expect([editor.mode, editor.doc, editor.problems[0]?.line]).toEqual(['yaml', { name: 'warm' }, 1])
})

test('a form that is no rule yet is shown as JSON, which is YAML', async () => {
  const { editor } = open()
  editor.set(['name'], '')
  await editor.show('yaml')
  expect(JSON.parse(editor.text)).toEqual({ name: '' })
})

test('an answer to what was meanwhile changed does not count', async () => {
  let release: (() => void) | undefined
  const held = new Promise<void>(resolve => {
    release = resolve
  })
  const editor = new Editor(
    {
      signedOut: () => undefined,
      changed: () => undefined,
      checkAfterMs: 1,
      validate: async rule => {
        if ((rule as Json)['name'] === 'slow') await held
        return server(rule) as Validation
      },
    },
    { name: 'slow' },
  )
  editor.set(['name'], '')
  await vi.waitFor(() => expect(editor.problems).toHaveLength(1))
  release?.()
  await held
  expect(editor.isValid).toBe(false)
})

test('a server that is away is said, and nothing is called valid', async () => {
  const { editor } = open(() => new TelltaleError(0, 'no answer'))
  await vi.waitFor(() => expect(editor.failure?.message).toBe('no answer'))
  expect([editor.isValid, editor.isChecking]).toEqual([false, false])
})
