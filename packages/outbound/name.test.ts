// Finding addresses: names that are never answered hold few threads, and the others still come through.
import type { LookupAddress } from 'node:dns'
import { expect, it } from 'vitest'
import { Names } from './name.ts'

type Asked = { readonly host: string; answer(found: LookupAddress[]): void; fail(error: Error): void }

function open() {
  const asked: Asked[] = []
  const names = new Names(host => new Promise((answer, fail) => asked.push({ host, answer, fail })))
  return { names, asked, hosts: () => asked.map(({ host }) => host) }
}

const FOUND = [{ address: '192.0.2.1', family: 4 }]

it('a name is looked up once for all who ask at the same time, and again afterwards', async () => {
  const { names, asked } = open()
  const answers = [names.addresses('a'), names.addresses('a')]
  expect(asked).toHaveLength(1)
  asked[0]?.answer(FOUND)
  expect(await Promise.all(answers)).toEqual([FOUND, FOUND])
  const again = names.addresses('a')
  asked[1]?.answer(FOUND)
  expect(await again).toEqual(FOUND)
})

it('no more than two names are looked up at once, and the next when one has an answer', async () => {
  const { names, asked, hosts } = open()
  const answers = ['a', 'b', 'c', 'd'].map(host => names.addresses(host))
  expect(hosts()).toEqual(['a', 'b'])
  asked[1]?.answer(FOUND)
  await answers[1]
  await Promise.resolve()
  expect(hosts()).toEqual(['a', 'b', 'c'])
  asked[2]?.answer(FOUND)
  await answers[2]
  await Promise.resolve()
  asked[3]?.answer(FOUND)
  await answers[3]
  asked[0]?.answer(FOUND)
  await answers[0]
  void names.addresses('e')
  void names.addresses('f')
  void names.addresses('g')
  expect(hosts().slice(4)).toEqual(['e', 'f'])
})

it('a name that was not found is not looked up again for ten seconds', async () => {
  const { names, asked, hosts } = open()
  const first = names.addresses('a')
  asked[0]?.fail(new Error('getaddrinfo EAI_AGAIN a'))
  await expect(first).rejects.toThrow('EAI_AGAIN')
  await expect(names.addresses('a')).rejects.toThrow('EAI_AGAIN')
  void names.addresses('a', performance.now() + 10_001)
  expect(hosts()).toEqual(['a', 'a'])
})

it('the names of the hosts file are found', async () => {
  expect((await new Names().addresses('localhost')).map(({ address }) => address)).toContain('127.0.0.1')
})
