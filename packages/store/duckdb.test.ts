// The DuckDB adapter against the contract, and what only a file has: locks, kills, a second opener.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { DuckDBInstance } from '@duckdb/node-api'
import { afterAll, expect, test } from 'vitest'
import { storeContract, storeEvent } from './contract.ts'
import { openDuckStore } from './duckdb.ts'
import { pastContract } from './pastcontract.ts'
import { scanContract } from './scancontract.ts'

const folder = mkdtempSync(join(tmpdir(), 'telltale-duckdb-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

storeContract('DuckDB', () => openDuckStore({ path: join(folder, 'contract.duckdb') }))
pastContract('DuckDB', () => openDuckStore({ path: join(folder, 'past.duckdb') }))
scanContract('DuckDB', () => openDuckStore({ path: join(folder, 'scan.duckdb') }))

// A process of its own that writes batches of 100 events for ever and prints a line after each.
const WRITER = `
  const [, duckdb, path] = process.argv
  const { openDuckStore } = await import(duckdb)
  const store = await openDuckStore({ path })
  for (let batch = 0; ; batch++) {
    await store.write(Array.from({ length: 100 }, (_, i) => {
      const names = { project: 'p', device: 'd' + i % 5, eventType: 'temperature', eventId: batch + '-' + i }
      return { ...names, timeUs: 1763600000000000 + batch * 1000 + i, frame: '{}', data: { temperature: { value: batch } } }
    }))
    console.log(batch)
  }`

function startWriter(path: string) {
  const duckdb = new URL('./duckdb.ts', import.meta.url).href
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', WRITER, duckdb, path], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const written: number[] = []
  createInterface({ input: child.stdout }).on('line', line => written.push(Number(line)))
  return { child, written }
}

test('a file that a killed process left holds every written batch, and whole batches only', async () => {
  const path = join(folder, 'killed.duckdb')
  for (let kill = 1; kill <= 3; kill++) {
    const { child, written } = startWriter(path)
    await expect.poll(() => written.length, { timeout: 15_000, interval: 1 }).toBeGreaterThan(kill * 20)
    child.kill('SIGKILL')
    await once(child, 'close')
    const store = await openDuckStore({ path })
    const query = { project: 'p', eventType: 'temperature', field: 'value', fromUs: 0, toUs: Number.MAX_SAFE_INTEGER, limit: 1e6 }
    const counts = new Map<number, number>()
    for (const device of ['d0', 'd1', 'd2', 'd3', 'd4'])
      for (const { value } of await store.readings({ ...query, device })) counts.set(value, (counts.get(value) ?? 0) + 1)
    expect([...counts.values()].every(count => count === 100)).toBe(true)
    expect(counts.size).toBeGreaterThanOrEqual(written.length)
    await store.close()
  }
})

test('a second process cannot open the file and is told which setting to change', async () => {
  const path = join(folder, 'busy.duckdb')
  const { child, written } = startWriter(path)
  await expect.poll(() => written.length, { timeout: 15_000 }).toBeGreaterThan(0)
  await expect(openDuckStore({ path })).rejects.toMatchObject({ code: 'setup', message: expect.stringContaining('TELLTALE_DATA_DIR') })
  child.kill('SIGKILL')
  await once(child, 'close')
})

test('a second opener in the same process is refused until the first closes', async () => {
  const path = join(folder, 'twice.duckdb')
  const store = await openDuckStore({ path })
  await expect(openDuckStore({ path })).rejects.toMatchObject({ code: 'setup', message: expect.stringContaining('TELLTALE_DATA_DIR') })
  await store.close()
  await (await openDuckStore({ path })).close()
})

test('a file that is no database is refused with its name', async () => {
  const path = join(folder, 'text.duckdb')
  writeFileSync(path, 'not a database '.repeat(1000))
  await expect(openDuckStore({ path })).rejects.toMatchObject({ code: 'setup', message: expect.stringContaining(path) })
})

// As version 0.1 made its files.
const FIRST_SCHEMA = `
  create table series (id integer, project varchar, device varchar, event_type varchar);
  create table entry
    (series integer, time bigint, event_id varchar, is_event boolean, field varchar, value double, frame varchar);
  insert into series values (1, 'p', 'd1', 'temperature');
  insert into entry select 1, 1763600000000000 + i, 'old-' || i, true, 'value', i, '{"old":' || i || '}' from range(1000) t(i);`

test('a file of the first version is brought to this one with all it holds', async () => {
  const path = join(folder, 'first.duckdb')
  const instance = await DuckDBInstance.create(path)
  const connection = await instance.connect()
  await connection.run(FIRST_SCHEMA)
  connection.closeSync()
  instance.closeSync()
  for (const round of [0, 1]) {
    const store = await openDuckStore({ path })
    const old = await store.events({ project: 'p', device: 'd1', fromUs: 0, toUs: 1763600000001000, limit: 2000 })
    expect(old).toHaveLength(1000)
    expect(old[0]).toMatchObject({ eventId: 'old-999', frame: '{"old":999}' })
    const place = { entryId: `${1763600000100 + round}-0`, index: 0 }
    const event = { ...storeEvent({ timeUs: 1763600000100000 + round, eventId: `new-${round}` }), place }
    const span = { project: 'p', after: round === 0 ? '1763600000050-0' : '1763600000100-0', to: place.entryId }
    expect(await store.write([event], span)).toEqual({ stored: 1, duplicates: 0 })
    const found = await store.past({ project: 'p', after: { entryId: '1763600000000-0', index: 0 }, to: place.entryId, limit: 10 })
    expect(found.events).toHaveLength(round + 1)
    expect(found.gap).toEqual({ after: { entryId: '1763600000000-0', index: 0 }, to: { entryId: '1763600000050-0', index: 999_999 } })
    await store.close()
  }
})

test('a file of a later version is refused, and is as it was', async () => {
  const path = join(folder, 'later.duckdb')
  const instance = await DuckDBInstance.create(path)
  const connection = await instance.connect()
  await connection.run('create table version (number integer); insert into version values (99)')
  connection.closeSync()
  instance.closeSync()
  for (let i = 0; i < 2; i++)
    await expect(openDuckStore({ path })).rejects.toMatchObject({ code: 'setup', message: expect.stringMatching(/newer Telltale/) })
})

test('a refused batch does not harm the batches it shares a transaction with', async () => {
  const store = await openDuckStore({ path: join(folder, 'shared.duckdb') })
  const infinite = { temperature: { value: Number.NEGATIVE_INFINITY } }
  const [first, bad, last] = await Promise.allSettled([
    store.write([storeEvent({ device: 'a', eventId: '1' })]),
    store.write([storeEvent({ device: 'a', eventId: '2', data: infinite })]),
    store.write([storeEvent({ device: 'a', eventId: '3' })]),
  ])
  expect(first).toMatchObject({ value: { stored: 1, duplicates: 0 } })
  expect(bad).toMatchObject({ reason: { code: 'invalid' } })
  expect(last).toMatchObject({ value: { stored: 1, duplicates: 0 } })
  const found = await store.events({ project: 'p', device: 'a', fromUs: 0, toUs: Number.MAX_SAFE_INTEGER, limit: 10 })
  expect(found.map(({ eventId }) => eventId)).toEqual(['3', '1'])
  await store.close()
})
