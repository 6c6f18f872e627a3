// What a gateway remembers of projects: read once, read again where it has changed, and bounded.
import { expect, it } from 'vitest'
import type { DecoderRecord } from '../../../packages/state/decoder.ts'
import { FORMATS } from '../decode/formats.ts'
import { shelfOf } from '../fixture.ts'
import { Catalog, type Shelf } from './catalog.ts'

const record = (name: string, topic: string): DecoderRecord => ({
  name,
  format: 'json',
  topics: [topic],
  contentTypes: [],
  options: {},
  enabled: true,
})

/** @param chars of each decoder. */
function openCatalog(chars = 100) {
  const rows = new Map<string, DecoderRecord>()
  const read: string[] = []
  const state = { changed: [] as string[], newest: 0 }
  const shelf = shelfOf(rows)
  const decoders: Shelf<DecoderRecord> = {
    revisions: shelf.revisions,
    some: async (project, names) => {
      read.push(...names.map(name => `${project} ${name}`))
      return new Map([...(await shelf.some(project, names))].map(([name, { document }]) => [name, { document, chars }]))
    },
  }
  const changes = async () => ({ newest: ++state.newest, projects: state.changed })
  const catalog = new Catalog({ formats: FORMATS, decoders, schemas: shelfOf(new Map()), changes })
  return { rows, read, state, catalog }
}

it('only what has changed is read again', async () => {
  const { rows, read, state, catalog } = openCatalog()
  for (const name of ['a', 'b', 'c']) rows.set(name, record(name, `${name}/+`))
  const first = await catalog.of('p')
  state.changed = ['p']
  rows.set('b', record('b', 'other/+'))
  rows.delete('c')
  await catalog.refresh()
  const second = await catalog.of('p')
  expect(read).toEqual(['p a', 'p b', 'p c', 'p b'])
  expect(['b/1', 'other/1', 'c/1', 'a/1'].map(topic => second.mappings.ofTopic(topic)?.mapping.name)).toEqual([
    undefined,
    'b',
    undefined,
    'a',
  ])
  // What formats have made of its options is known by them.
  expect(second.mappings.named('a').mapping.options).toBe(first.mappings.named('a').mapping.options)
  await catalog.refresh()
  expect([read.length, await catalog.of('p')]).toEqual([4, second])
})

it('no more is remembered than so many characters of all projects', async () => {
  const { rows, read, catalog } = openCatalog(30 * 1024 * 1024)
  rows.set('a', record('a', 'a'))
  for (const project of ['p', 'q', 'r', 'q', 'r', 'p']) await catalog.of(project)
  expect(read).toEqual(['p a', 'q a', 'r a', 'p a'])
})

it('one refresh follows the other, and who asks while one waits waits with it', async () => {
  const { state, catalog } = openCatalog()
  await catalog.of('p')
  await Promise.all([catalog.refresh(), catalog.refresh(), catalog.refresh()])
  const again = catalog.refresh()
  expect(catalog.refresh()).toBe(again)
  await again
  expect(state.newest).toBe(2)
})
