// What a person sees of a payload.
import { expect, test } from 'vitest'
import { preview, propertiesOf, shownAs, viewOf } from './payload.ts'

const message = (bytes: Buffer, text: string | null = bytes.toString()) => ({ text, payload: bytes.toString('base64'), size: bytes.length })

test('JSON is laid out, text is left as it is, and bytes are hex', () => {
  const json = message(Buffer.from('{"celsius":4.65}'))
  expect(viewOf(json)).toBe('JSON')
  expect(shownAs('JSON', json)).toBe('{\n  "celsius": 4.65\n}')
  expect(shownAs('text', json)).toBe('{"celsius":4.65}')
  expect(viewOf(message(Buffer.from('[half')))).toBe('text')
  const bytes = message(Buffer.from([0, 255, 65]), null)
  expect(viewOf(bytes)).toBe('hex')
  expect(shownAs('hex', bytes)).toBe(`000000  00 ff 41${' '.repeat(39)}  ··A`)
  expect(preview(bytes)).toBe('00 ff 41')
})

test('what is no JSON is shown as the text it is', () => {
  expect(shownAs('JSON', message(Buffer.from('hello')))).toBe('hello')
})

test('a long payload is cut, and says so', () => {
  const long = message(Buffer.alloc(10_000, 1), null)
  expect(shownAs('hex', long)).toMatch(/\n… of 10000 bytes$/)
  expect(preview(long)).toMatch(/ …$/)
  expect(preview(message(Buffer.alloc(0)))).toBe('empty')
})

test('properties are lines with a name and a value', () => {
  expect(propertiesOf('unit=C\n\n site = a=b ')).toEqual({ unit: 'C', site: ' a=b ' })
  expect(propertiesOf('')).toEqual({})
  expect(propertiesOf('unit')).toBeUndefined()
})
