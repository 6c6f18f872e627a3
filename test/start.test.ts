// Starting and stopping: what a person sees who runs Telltale for the first time, for the second time, and wrongly.
import { spawn } from 'node:child_process'
import { chmod, readdir, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { SETTINGS } from '../services/config.ts'
import { publishOn } from './load.ts'
import {
  eventually,
  exited,
  newDirectory,
  type Program,
  ROOT,
  removeDirectories,
  run,
  type Start,
  startTelltale,
  stored,
  type Telltale,
  temperatureOf,
  until,
  watch,
} from './world.ts'

afterAll(removeDirectories)

/** A line as it was printed, run as it stands. */
function shell(line: string): Program {
  return watch(spawn('sh', ['-c', line], { cwd: ROOT, detached: true, stdio: ['ignore', 'pipe', 'pipe'] }))
}

function printed(telltale: Telltale, start: string): string {
  const line = telltale
    .program()
    .said()
    .split('\n')
    .find(text => text.startsWith(`  ${start}`))
  if (line === undefined) throw new Error(`no line starts with ${start}:\n${telltale.program().said()}`)
  return line.trim()
}

describe('the first start and the second', () => {
  let telltale: Telltale
  beforeAll(async () => {
    telltale = await startTelltale()
  })
  afterAll(() => telltale.remove())

  test('the first start prints the console, a key and three lines that work as printed', async () => {
    const said = telltale.program().said()
    expect(said).toContain(`console  ${telltale.url()}/`)
    expect(said).toContain(`key id   ${telltale.key.keyId}`)
    expect(said).toContain(`secret   ${telltale.key.secret}`)
    const following = shell(printed(telltale, 'curl -N'))
    try {
      await until('the stream line shows a ping', () => following.said().includes('"eventType":"ping"'))
      for (const line of [printed(telltale, 'curl -u'), printed(telltale, 'npx mqtt pub')]) {
        const program = shell(line)
        const { code } = await exited(program)
        expect(code, `${line}\n${program.complained()}`).toBe(0)
      }
      await until('both published values are followed', () => /"value":21\.5,.*\n.*"value":22\.5,/s.test(following.said()))
    } finally {
      following.signalGroup('SIGTERM')
    }
    await eventually(async () => expect((await stored(telltale, 'demo-1')).map(temperatureOf)).toEqual([21.5, 22.5]))
  })

  test('the second start keeps the data and the key, and prints no secret', async () => {
    expect(await telltale.stop()).toBe(0)
    await telltale.restart()
    const said = telltale.program().said()
    expect(said).toContain('Telltale is running')
    expect(said).not.toContain(telltale.key.secret)
    expect(said).not.toContain('curl')
    expect((await stored(telltale, 'demo-1')).map(temperatureOf)).toEqual([21.5, 22.5])
  })

  test('a secret in the settings holds from then on, and is never printed', async () => {
    const secret = 'a-secret-of-my-own-choice'
    expect(await telltale.stop()).toBe(0)
    await telltale.restart({ TELLTALE_ADMIN_KEY_ID: 'mine', TELLTALE_ADMIN_SECRET: secret })
    const authorization = `Basic ${Buffer.from(`mine:${secret}`).toString('base64')}`
    expect((await telltale.http('/v2/projects/default/devices', { headers: { authorization } })).status).toBe(200)
    // The key that was the first one is no more: whoever holds it was to be shut out.
    expect((await telltale.http('/v2/projects/default/devices')).status).toBe(401)
    expect(telltale.program().said()).not.toContain(secret)
  })

  test('the key stays when what Redis held is gone', async () => {
    expect(await telltale.stop()).toBe(0)
    await rm(join(telltale.dir, 'redis'), { recursive: true })
    await telltale.restart({ TELLTALE_ADMIN_KEY_ID: '', TELLTALE_ADMIN_SECRET: '' })
    const authorization = `Basic ${Buffer.from('mine:a-secret-of-my-own-choice').toString('base64')}`
    expect((await telltale.http('/v2/projects/default/devices', { headers: { authorization } })).status).toBe(200)
    expect(telltale.program().said()).not.toContain('secret   ')
  })
})

describe('stopping', () => {
  test.each(['SIGINT', 'SIGTERM'] as const)('%s under load drains and exits 0, and everything acknowledged is there', async signal => {
    const telltale = await startTelltale()
    try {
      const client = await telltale.mqtt()
      const reader = await telltale.stream()
      const load = publishOn(client, 'busy')
      await until('a thousand publishes are acknowledged', () => load.acked.size > 1000)
      expect(await telltale.stop(signal)).toBe(0)
      await load.end()
      await until('the stream was ended', () => reader.hasEnded())
      expect(reader.frames().at(-1)?.error).toMatchObject({ code: 408, message: 'closing stream' })
      expect(telltale.program().complained()).toBe('')
      await telltale.restart()
      await eventually(async () => {
        const values = (await stored(telltale, 'busy')).map(temperatureOf)
        expect([...load.acked].filter(value => !values.includes(value))).toEqual([])
        expect(new Set(values).size).toBe(values.length)
      })
    } finally {
      await telltale.remove()
    }
  })

  test('Ctrl-C that reaches it twice, from the terminal and through npm, still drains', async () => {
    const telltale = await startTelltale()
    try {
      const client = await telltale.mqtt()
      const load = publishOn(client, 'busy')
      await until('publishes are acknowledged', () => load.acked.size > 100)
      telltale.program().signalGroup('SIGINT')
      telltale.program().signal('SIGINT')
      expect(await exited(telltale.program())).toEqual({ code: 0, signal: null })
      await telltale.restart()
      await eventually(async () => {
        const values = (await stored(telltale, 'busy')).map(temperatureOf)
        expect([...load.acked].filter(value => !values.includes(value))).toEqual([])
      })
    } finally {
      await telltale.remove()
    }
  })

  test('Ctrl-C during the start ends it as soon as it is there, with exit code 0 and nothing left running', async () => {
    const dir = await newDirectory()
    const program = run(dir)
    await until('it has begun', async () => (await readdir(dir)).length > 0)
    program.signal('SIGINT')
    expect(await exited(program)).toEqual({ code: 0, signal: null })
    expect(program.complained()).toBe('')
    expect((await readdir(dir)).filter(name => name.startsWith('telltale.lock'))).toEqual([])
  })

  test('Ctrl-C in a terminal that runs npm start ends everything, with exit code 0', async () => {
    const dir = await newDirectory()
    const settings = { TELLTALE_DATA_DIR: dir, TELLTALE_HTTP_PORT: '0', TELLTALE_MQTT_PORT: '0', TELLTALE_LOG_LEVEL: 'warn' }
    // What `npm run build` makes is there already, and other tests serve their page from it.
    const program = watch(
      spawn('npm', ['start', '--ignore-scripts'], {
        cwd: ROOT,
        detached: true,
        env: { ...process.env, ...settings },
        stdio: ['ignore', 'pipe', 'pipe'],
      }),
    )
    await until('Telltale is running', () => program.said().includes('-m 22.5'), 30_000)
    program.signalGroup('SIGINT')
    expect(await exited(program)).toEqual({ code: 0, signal: null })
    const again = await startTelltale({ dir })
    await again.remove()
  })
})

test('--help says what may be set, and starts nothing', async () => {
  const program = run(await newDirectory(), { roles: ['--help'] })
  expect(await exited(program)).toEqual({ code: 0, signal: null })
  expect(program.said()).toMatch(/^Usage: npm start -- \[gateway\] \[worker\] \[stream\] \[console\]$/m)
  for (const { name, meaning } of SETTINGS) for (const part of [name, meaning]) expect(program.said()).toContain(part)
})

describe('what cannot start', () => {
  let taken: Server
  let port: string
  beforeAll(async () => {
    taken = createServer().listen(0, '127.0.0.1')
    await new Promise(resolve => taken.once('listening', resolve))
    port = String((taken.address() as { port: number }).port)
  })
  afterAll(() => new Promise(resolve => taken.close(resolve)))

  /** The lines it complains with; it must have ended by itself, with a code, without a stack trace. */
  async function refusal(start: Start): Promise<string[]> {
    const program = run(start.dir ?? (await newDirectory()), start)
    const { code } = await exited(program)
    expect(code, program.said()).toBe(1)
    expect(program.complained()).not.toMatch(/\n\s+at /)
    expect(program.said()).not.toContain('Telltale is running')
    return program.complained().trimEnd().split('\n')
  }

  test.each(['HTTP', 'MQTT'])('a taken %s port is one line that names the setting and the way out', async door => {
    const lines = await refusal({ env: { [`TELLTALE_${door}_PORT`]: port } })
    expect(lines).toEqual([
      `telltale: TELLTALE_${door}_PORT: port ${port} is in use by another program; stop that, or set TELLTALE_${door}_PORT to a free one`,
    ])
  })

  test('a data directory that cannot be used is one line that names the setting and the way out', async () => {
    const dir = await newDirectory()
    const file = join(dir, 'file')
    await writeFile(file, '')
    for (const path of [file, join(file, 'below')]) {
      const lines = await refusal({ dir: path })
      expect(lines).toEqual([expect.stringMatching(/^telltale: TELLTALE_DATA_DIR .*: it is a file.* Name a directory/)])
    }
    // root may write everywhere
    if (process.getuid?.() === 0) return
    await chmod(dir, 0o500)
    expect(await refusal({ dir })).toEqual([
      expect.stringMatching(/^telltale: TELLTALE_DATA_DIR .*cannot be written by user .* Change its owner/),
    ])
  })

  test.skipIf(process.platform !== 'linux')('nor one in which nothing can be made', async () => {
    expect(await refusal({ dir: '/proc/nope' })).toEqual([
      'telltale: TELLTALE_DATA_DIR /proc/nope: it cannot be created there. Name another directory.',
    ])
  })

  test('when it is mended, the next start is a first one: it prints the key and what to do with it', async () => {
    const dir = await newDirectory()
    await refusal({ dir, env: { TELLTALE_HTTP_PORT: port } })
    const telltale = await startTelltale({ dir })
    try {
      expect(telltale.program().said()).toContain(`secret   ${telltale.key.secret}   (shown only now`)
      expect((await telltale.http('/v2/projects')).status).toBe(200)
    } finally {
      await telltale.remove()
    }
  })

  test('a second instance on the same data directory is refused, and does not disturb the first', async () => {
    const first = await startTelltale()
    try {
      const lines = await refusal({ dir: first.dir })
      expect(lines).toEqual([
        `telltale: TELLTALE_DATA_DIR ${first.dir}: already in use by process ${first.program().pid}. Stop that one (kill ${first.program().pid}), or give this one a directory of its own.`,
      ])
      expect((await first.http('/readyz')).status).toBe(200)
    } finally {
      await first.remove()
    }
  })

  test('wrong settings are all named at once, with what was expected', async () => {
    const lines = await refusal({
      env: {
        TELLTALE_HTTP_PORT: '80800',
        TELLTALE_FSYNC: 'sometimes',
        TELLTALE_RETENTION: 'a week',
        TELLTALE_ADMIN_SECRET: 'short',
        TELLTALE_WEBHOOK_ALLOW_PRIVATE: '10.0.0.0',
        TELLTALE_HTP_PORT: '1',
      },
      roles: ['gatway'],
    })
    const starts = ['role gatway', 'HTP_PORT', 'HTTP_PORT', 'ADMIN_SECRET', 'WEBHOOK_ALLOW_PRIVATE', 'RETENTION', 'FSYNC']
    for (const start of starts)
      expect(
        lines.filter(line => line.match(`^telltale: (TELLTALE_)?${start}:`)),
        start,
      ).toHaveLength(1)
    expect(lines).toHaveLength(starts.length)
    expect(lines.join('\n')).toContain('TELLTALE_HTP_PORT: unknown setting; did you mean TELLTALE_HTTP_PORT?')
    expect(lines.join('\n')).toContain('expected some of gateway, worker, stream, console')
    expect(lines.join('\n')).not.toContain('short')
  })

  test('roles in processes of their own without a shared Redis and store are refused with the settings that they need', async () => {
    const lines = await refusal({ roles: ['gateway'] })
    expect(lines).toEqual([
      expect.stringMatching(/^telltale: TELLTALE_REDIS_URL: .*share one Redis; set it, or start all roles in one process/),
      expect.stringMatching(/^telltale: TELLTALE_INFLUX_URL: DuckDB belongs to one process; set it/),
    ])
  })
})
