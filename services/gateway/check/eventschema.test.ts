// Schemas of event types that take too long: whose they are and whose they are not.
import { afterAll, describe, expect, it } from 'vitest'
import { Schemas } from '../../../packages/log/durable/checking.ts'
import type { Schema } from '../../../packages/log/durable/record.ts'
import { SchemaThread } from '../../../packages/log/durable/schemathread.ts'
import { decodeJson } from '../decode/json.ts'
import { type ScreenPorts, screen } from './eventschema.ts'

const PROGRAM = new URL('../../../dist/packages/log/durable/schemathread.js', import.meta.url)
const schemaOf = (pattern: string): Schema => ({ type: 'json', definition: { properties: { v: { type: 'string', pattern } } } })
const clock = { nowUs: () => 0, newId: () => 'id' }
const event = (eventType: string, v: string) => ({ device: 'd', eventType, data: { [eventType]: { v } } })

describe('a schema that takes too long', () => {
  const all = new Schemas(new SchemaThread(PROGRAM))
  afterAll(() => all.close())

  it('refuses events of its type, at once from then on, and holds up nothing else of their sender', async () => {
    const told: string[] = []
    const schemas = new Map([
      ['slow', schemaOf('^(a+)+$')],
      ['fast', schemaOf('^a+$')],
    ])
    const ports = {
      catalog: { of: () => ({ schemas }) },
      check: (...what: Parameters<Schemas['check']>) => all.check(...what),
      slow: (project: string, eventType: string) => void told.push(`${project} ${eventType}`),
    } as unknown as ScreenPorts
    const endless = `${'a'.repeat(45)}!`
    const send = async (...events: object[]) =>
      (await screen(ports, 'p', decodeJson(Buffer.from(JSON.stringify(events)), { project: 'p' }, clock))).map(one =>
        'event' in one ? 'fits' : one.failure,
      )
    expect(await send(event('fast', 'a'), event('slow', 'a'))).toEqual(['fits', 'fits'])
    expect(await send(event('slow', endless))).toMatchObject([{ code: 'invalid', message: expect.stringContaining('not decided within') }])
    expect(await send(event('slow', 'a'), event('fast', 'a'), event('other', 'a'), event('fast', 'b'))).toMatchObject([
      { code: 'invalid', field: 'data.slow', message: expect.stringContaining('the schema of event type slow takes too long to check') },
      'fits',
      'fits',
      { code: 'invalid', field: 'data.fast' },
    ])
    expect(told).toEqual(['p slow'])
  })
})
