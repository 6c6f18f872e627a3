// Starting in order, stopping in reverse: also what fails, and what does not stop.
import { expect, it } from 'vitest'
import { Lifecycle } from './lifecycle.ts'
import { openLogger } from './logger.ts'

it('stops in reverse, once, and all even if one fails', async () => {
  const lifecycle = new Lifecycle(openLogger('silent'))
  const stopped: string[] = []
  const start = (name: string) => lifecycle.started(name, async () => void stopped.push(name))
  start('first')
  lifecycle.started('broken', async () => {
    throw new Error('broken')
  })
  lifecycle.started('hangs', () => new Promise(() => undefined))
  start('last')
  await Promise.all([lifecycle.stop(20), lifecycle.stop(20)])
  expect(stopped).toEqual(['last', 'first'])
})
