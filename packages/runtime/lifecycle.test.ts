// Starting in order, stopping in reverse: also what ended by itself, and what does not stop.
import { expect, it } from 'vitest'
import { Lifecycle } from './lifecycle.ts'
import { openLogger } from './logger.ts'

it('stops in reverse, all even if one fails, and not what has ended by itself', async () => {
  const lifecycle = new Lifecycle(openLogger('silent'))
  const stopped: string[] = []
  const start = (name: string) => lifecycle.started(name, async () => void stopped.push(name))
  start('first')
  const ended = start('ended')
  const endsMeanwhile = start('ends while others stop')
  lifecycle.started('broken', async () => {
    endsMeanwhile()
    throw new Error('broken')
  })
  lifecycle.started('hangs', () => new Promise(() => undefined))
  start('last')
  ended()
  await Promise.all([lifecycle.stop(20), lifecycle.stop(20)])
  expect(stopped).toEqual(['last', 'ends while others stop', 'first'])
})
