// A body of lines on its way to the log: in its order, whatever must be asked, and with what it takes to decode again what is refused of it.
import { describe, expect, it } from 'vitest'
import { Failure } from '../../../packages/core/failure.ts'
import type { AppendBatch } from '../../../packages/log/log.ts'
import type { Refused } from '../../../packages/state/quarantine.ts'
import { Accept } from '../accept.ts'
import { FORMATS } from '../decode/formats.ts'
import { decodeJson } from '../decode/json.ts'
import { builtInMapping, type Decoder } from '../decoder/mapping.ts'
import { UNLIMITED, undecoded } from '../fixture.ts'
import type { IngestPorts } from '../ingest.ts'
import { allowed } from '../own.ts'
import { DeliveryKeys } from './delivery.ts'
import { sourceOfBody } from './forhttp.ts'
import { partsOf } from './line.ts'
import { takeParts } from './upload.ts'

const ARRIVED_US = 1_800_000_000_000_000

function decoderOf(name: string): Decoder {
  const format = FORMATS.get(name)
  if (!format) throw new Error(`no format ${name}`)
  return { format, mapping: builtInMapping(format) }
}

async function upload(
  text: string,
  name: string,
  change: Partial<IngestPorts> = {},
  more: { key?: string; sender?: string; pieces?: string[] } = {},
) {
  const chosen = decoderOf(name)
  const { lines } = chosen.format
  if (!lines) throw new Error(`${name} has no lines`)
  const seen = { keys: [] as string[], refused: [] as Refused[] }
  const append = async (_: string, batch: AppendBatch) => {
    seen.keys.push(...batch.keys)
    return { entryId: '1-1', duplicates: 0, wake: [] }
  }
  const accept = new Accept({ append, register: async () => {}, wake: () => {}, counted: () => {}, failed: () => {} })
  const quarantine = async (_: string, refused: readonly Refused[]) => void seen.refused.push(...refused)
  let ids = 0
  const clock = { nowUs: () => ARRIVED_US, newId: () => `id${ids++}` }
  const ports = { accept, ...UNLIMITED, ...undecoded(), quarantine, rejected: () => {}, clock, send: () => {}, ...change }
  const { key, sender } = more
  const again = { format: name, options: { precision: 's' }, ...(sender === undefined ? {} : { sender }) }
  const body = { project: 'p', place: {}, contentType: 'text/plain', asked: undefined, again }
  const from = { project: 'p', source: 'POST /x', keyId: 'k', ...sourceOfBody(chosen, body) }
  const keys = key === undefined ? undefined : new DeliveryKeys('k', key)
  const device = sender === undefined ? undefined : { project: 'p', id: sender }
  const allow = allowed({ roles: {}, ...(device ? { device } : {}) })
  const parts = partsOf(
    (async function* () {
      for (const piece of more.pieces ?? [text]) yield Buffer.from(piece)
    })(),
    lines,
  )
  const taken = await takeParts(ports, parts, { chosen, body, from, keys, allow, told: () => {}, failed: () => {} })
  return { ...seen, ...taken }
}

/** A log, and what is appended to it at a time. */
function log() {
  const batches: string[][] = []
  const append = async (_: string, { frames }: AppendBatch) => {
    batches.push(frames.map(String))
    return { entryId: '1-1', duplicates: 0, wake: [] }
  }
  return { batches, accept: new Accept({ append, register: async () => {}, wake: () => {}, counted: () => {}, failed: () => {} }) }
}

const readingIn = (frame: string) => (JSON.parse(frame) as { data: { temperature: { value: number } } }).data.temperature.value
const line = (value: unknown) => `{"device":"d","data":{"temperature":{"value":${JSON.stringify(value)}}}}`

describe('a body of lines', () => {
  it('is appended whole, part by part and in its order, also when something must be asked of it while others are appended', async () => {
    let asked = 0
    const { accept, batches } = log()
    const ask = async () => {
      await new Promise(resolve => setImmediate(resolve))
      const [other] = decodeJson(Buffer.from(line(-1)), { project: 'p' }, { nowUs: () => ARRIVED_US, newId: () => 'id' })
      if (other && 'event' in other) for (let i = 0; i < 100; i++) accept.add(other.event, `other ${asked} ${i}`, false, () => {})
      return []
    }
    const text = Array.from({ length: 1200 }, (_, i) => `${line(i)}\n`).join('')
    await upload(text, 'ndjson', { accept, budget: { admits: () => asked++ % 500 !== 0, ask } })
    const values = batches.map(frames => frames.map(readingIn).filter(value => value >= 0))
    expect(values.flat()).toEqual(Array.from({ length: 1200 }, (_, i) => i))
    expect(values.map(part => part.length).filter(Boolean)).toEqual([500, 500, 200])
  })

  it('is known again by the key of its sender, also what was refused of it', async () => {
    const text = [line(1), line('warm'), line(2), 'x{', line(3)].join('\n')
    const { keys, refused } = await upload(text, 'ndjson', {}, { key: 'one' })
    const all = (await upload([line(1), line(0.55), line(2), line(0), line(3)].join('\n'), 'ndjson', {}, { key: 'one' })).keys
    expect(keys[0]).toBe(all[0])
    expect(new Set([...keys, ...refused.map(({ again }) => again?.delivery)]).size).toBe(5)
    const repeated = await upload(text, 'ndjson', {}, { key: 'one' })
    expect(repeated.refused.map(({ again }) => again)).toEqual(refused.map(({ again }) => again))
    expect(refused.map(({ again }) => again?.mayRepeat)).toEqual([true, true])
    expect((await upload(text, 'ndjson')).refused.map(({ again }) => again?.mayRepeat)).toEqual([false, false])
  })

  it('is known again by its key however it comes in pieces, with lines between that say nothing', async () => {
    const text = ['# comment', 'temperature,device=d value=1', '', '# more', '', 'temperature,device=d value=2', ''].join('\n')
    const whole = (await upload(text, 'influx', {}, { key: 'one' })).keys
    expect(whole).toHaveLength(2)
    const byLine = text.split(/(?<=\n)/)
    for (const pieces of [byLine, text.split('')]) expect((await upload(text, 'influx', {}, { key: 'one', pieces })).keys).toEqual(whole)
  })

  it('says of each line that is refused, for whatever reason, how it is decoded again', async () => {
    const ask: IngestPorts['budget']['ask'] = async events =>
      events.map(() => new Failure('quota_exceeded', 'device d: no', { field: 'device' }))
    const budget: IngestPorts['budget'] = { admits: ({ device }) => device === 'ours', ask }
    const text = 'temperature,device=d value=1 5\ntemperature,device=ours value=1 6\ntemperature value= 7'
    const { refused, tally } = await upload(text, 'influx', { budget }, { sender: 'ours' })
    expect(tally).toMatchObject({ accepted: 1, rejected: 2 })
    expect(refused.map(({ payload, code }) => [payload.toString(), code])).toEqual([
      ['temperature,device=d value=1 5', 'forbidden'],
      ['temperature value= 7', 'invalid'],
    ])
    expect(refused[0]?.again).toMatchObject({ format: 'influx', options: { precision: 's' }, sender: 'ours', isElement: true })
  })
})
