// The simulator against the real server: what it counts as acknowledged is what is stored, and a recording may be replayed twice.
import { spawn } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { DeviceEvent } from '../packages/core/event.ts'
import {
  eventually,
  exited,
  type Json,
  ROOT,
  removeDirectories,
  startTelltale,
  stored,
  type Telltale,
  temperatureOf,
  until,
  watch,
} from './world.ts'

let telltale: Telltale
beforeAll(async () => {
  telltale = await startTelltale()
})
afterAll(async () => {
  await telltale.remove()
  await removeDirectories()
})

async function simulate(...options: string[]): Promise<{ code: number | null; summary: Json; complained: string }> {
  const { keyId, secret } = telltale.key
  const target = ['--http', telltale.url(), '--mqtt', `mqtt://127.0.0.1:${telltale.mqttPort()}`, '--key-id', keyId, '--secret', secret]
  const args = ['packages/cli/telltale.js', 'simulate', ...target, '--json', ...options]
  const program = watch(spawn(process.execPath, args, { cwd: ROOT, detached: true, stdio: ['ignore', 'pipe', 'pipe'] }))
  const { code } = await exited(program, 30_000)
  const last = program.said().trimEnd().split('\n').at(-1) ?? ''
  return { code, summary: last === '' ? {} : (JSON.parse(last) as Json), complained: program.complained() }
}

async function everything(): Promise<DeviceEvent[]> {
  const { json } = await telltale.http('/v2/projects/default/devices?page_size=100')
  const ids = (json['devices'] as { name: string }[]).map(({ name }) => name.split('/')[3] ?? '')
  const events = await Promise.all(ids.map(id => stored(telltale, id)))
  // Written by Telltale itself when the simulator registers its fleet.
  return events.flat().filter(({ eventType }) => eventType !== 'labelsChanged')
}

test.each([
  ['mqtt', 'drop-outs,stuck,spikes,wrong-clock,reconnect-storm=0.9'],
  ['http', 'drop-outs,stuck,spikes,wrong-clock'],
])(
  'everything that a faulty fleet has acknowledged over %s is stored, once',
  async (protocol, faults) => {
    const before = (await everything()).length
    const fleet = ['--devices', '30', '--rate', '1500', '--count', '4000', '--seed', `seed-${protocol}`, '--fault', faults]
    const { code, summary, complained } = await simulate('--protocol', protocol, ...fleet)
    expect(code, complained).toBe(0)
    expect(summary).toMatchObject({ refused: 0, unacked: 0 })
    expect(Number(summary['acked']) + Number(summary['withheld'])).toBe(4000)
    await eventually(async () => {
      const events = await everything()
      expect(events.length - before).toBe(summary['acked'])
      expect(new Set(events.map(({ eventId }) => eventId)).size).toBe(events.length)
    })
  },
  60_000,
)

test.each(['mqtt', 'http'])(
  'every row of a recording is accounted for over %s, and a second replay changes nothing',
  async protocol => {
    const device = `replayed-${protocol}`
    const rows = Array.from({ length: 300 }, (_, i) => {
      const time = new Date(Date.UTC(2025, 2, 1, i)).toISOString()
      return `${time},${i % 10 === 3 ? '-200' : (20 + i / 100).toFixed(2)},${i % 7 === 0 ? '' : 400 + i}`
    })
    const file = join(telltale.dir, `${protocol}.csv`)
    await writeFile(file, `time,air,gas\n${rows.join('\n')}\n,,\n`)
    const reader = await telltale.stream(`device_ids=${device}`)
    const maps = ['--map', `air=${device}:temperature`, '--map', `gas=${device}:co2`, '--missing', '-200']
    const replay = () => simulate('--replay', file, '--protocol', protocol, ...maps)

    const first = await replay()
    expect(first.code, first.complained).toBe(0)
    const missing = 30 + 43
    const account = { rows: 301, emptyRows: 1, malformedRows: 0, values: 600 - missing, missing, malformedValues: 0, unreadRows: 0 }
    expect(first.summary).toMatchObject({ ...account, acked: 600 - missing, refused: 0, unacked: 0 })
    await eventually(async () => expect(await stored(telltale, device)).toHaveLength(600 - missing))
    const events = await stored(telltale, device)
    const temperatures = events.filter(({ eventType }) => eventType === 'temperature')
    expect(temperatures.slice(0, 4).map(event => [event.timestamp, temperatureOf(event)])).toEqual([
      ['2025-03-01T00:00:00.000000Z', 20],
      ['2025-03-01T01:00:00.000000Z', 20.01],
      ['2025-03-01T02:00:00.000000Z', 20.02],
      ['2025-03-01T04:00:00.000000Z', 20.04],
    ])
    await reader.have(events.length)

    const second = await replay()
    expect(second.code, second.complained).toBe(0)
    expect(second.summary).toMatchObject({ ...account, acked: 600 - missing })
    await telltale.send('POST', `/v2/projects/default/devices/${device}:publish`, { temperature: { value: 99 } })
    await until('what came after the second replay is followed', () => temperatureOf(reader.events().at(-1) ?? events[0] ?? never()) === 99)
    await eventually(async () => expect((await stored(telltale, device)).map(temperatureOf)).toContain(99))
    expect(await stored(telltale, device)).toHaveLength(events.length + 1)
    expect(reader.events()).toHaveLength(events.length + 1)
    reader.close()
  },
  60_000,
)

function never(): never {
  throw new Error('nothing was stored')
}
