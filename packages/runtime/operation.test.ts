// What /readyz tells, whom it asks, and how often.
import { fastify } from 'fastify'
import { describe, expect, it, vi } from 'vitest'
import type { HttpApp } from './http.ts'
import { addOperationRoutes } from './operation.ts'

function world(run: () => Promise<unknown>, vital = false) {
  const lines: string[] = []
  const app = fastify({ logger: { level: 'warn', stream: { write: (line: string) => void lines.push(line) } } })
  addOperationRoutes(app as unknown as HttpApp, [], [{ name: 'store', vital, run }], () => true)
  const ask = async () => {
    const { statusCode, body } = await app.inject({ method: 'GET', url: '/readyz' })
    return [statusCode, JSON.parse(body) as unknown]
  }
  return { ask, lines }
}

describe('/readyz', () => {
  it('says that something is away, and tells only the log why, once', async () => {
    let error: Error | undefined = new Error('connect ECONNREFUSED 10.1.2.3:8086')
    const { ask, lines } = world(async () => {
      if (error) throw error
    })
    for (let i = 0; i < 3; i++) expect(await ask()).toEqual([200, { status: 'ready', store: 'away' }])
    expect(lines).toEqual([expect.stringMatching(/"check":"store","reason":"connect ECONNREFUSED 10\.1\.2\.3:8086","msg":"away"/)])
    error = undefined
    expect(await ask()).toEqual([200, { status: 'ready', store: 'ok' }])
    expect(lines).toHaveLength(2)
  })

  it('is 503 when what is away is vital', async () => {
    const { ask } = world(() => Promise.reject(new Error('away')), true)
    expect(await ask()).toEqual([503, { status: 'not ready', store: 'away' }])
  })

  it('asks what hangs once, however often it is asked itself, and again when it has hung for long', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
    try {
      let asked = 0
      let hangs = true
      const { ask } = world(() => {
        asked++
        return hangs ? new Promise(() => undefined) : Promise.resolve()
      })
      const later = async (ms: number) => {
        const answers = [ask(), ask(), ask()]
        await vi.waitFor(() => expect(vi.getTimerCount()).toBe(3))
        await vi.advanceTimersByTimeAsync(ms)
        return Promise.all(answers)
      }
      const away = [200, { status: 'ready', store: 'away' }]
      for (let i = 0; i < 3; i++) expect(await later(2000)).toEqual([away, away, away])
      expect(asked).toBe(1)
      await vi.advanceTimersByTimeAsync(30_000)
      expect(await later(2000)).toEqual([away, away, away])
      expect(asked).toBe(2)
      hangs = false
      await vi.advanceTimersByTimeAsync(30_000)
      expect(await ask()).toEqual([200, { status: 'ready', store: 'ok' }])
    } finally {
      vi.useRealTimers()
    }
  })
})
