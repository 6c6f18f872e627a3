// Finding a server program: the path, a named one, and the real packages of Debian or Ubuntu.
import { execFile } from 'node:child_process'
import { chmod, mkdir, readdir, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { findRedis } from './binary.ts'
import { connectRedis } from './connection.ts'
import { keepLog, newDirectory, start } from './fixture.ts'

const debian = await promisify(execFile)('apt-get', ['--version']).then(
  () => true,
  () => false,
)
if (!debian) console.warn('no apt-get: fetching a Redis is not tested')

async function program(dir: string, name: string, text: string): Promise<string> {
  const path = join(dir, name)
  await mkdir(dir, { recursive: true })
  await writeFile(path, `#!/bin/sh\n${text}\n`)
  await chmod(path, 0o755)
  return path
}

describe('finding a Redis server', () => {
  it('takes the first on the path that is new enough', async () => {
    const dir = await newDirectory()
    await program(join(dir, 'old'), 'redis-server', 'echo "Redis server v=6.0.16 sha=0"')
    await program(join(dir, 'broken'), 'redis-server', 'exit 127')
    const valkey = await program(join(dir, 'new'), 'valkey-server', 'echo "Valkey server v=8.0.1 sha=0"')
    const path = ['none', 'old', 'broken', 'new'].map(name => join(dir, name)).join(':')
    expect(await findRedis({ dir, path, progress: () => {} })).toEqual({ command: [valkey], version: '8.0.1' })
  })

  it('refuses a named program that is missing, too old or not Redis, with the way out for each platform', async () => {
    const dir = await newDirectory()
    const old = await program(dir, 'old', 'echo "Redis server v=6.0.16 sha=0"')
    const other = await program(dir, 'other', 'echo hello')
    for (const [binary, reason] of [
      [join(dir, 'none'), 'not there'],
      [old, '6.0.16'],
      [other, 'hello'],
    ] as const) {
      const words = expect.stringMatching(new RegExp(`^TELLTALE_REDIS_BINARY: ${binary} .*${reason}`))
      const failure = expect.objectContaining({ code: 'setup', message: words })
      await expect(findRedis({ dir, binary, progress: () => {} })).rejects.toEqual(failure)
      await expect(findRedis({ dir, binary, progress: () => {} })).rejects.toThrow(
        /brew install redis[\s\S]*apk add redis[\s\S]*dnf install redis[\s\S]*TELLTALE_REDIS_URL/,
      )
    }
  })

  it.skipIf(!debian)('fetches the package of Debian or Ubuntu once, and it runs', { timeout: 120_000 }, async () => {
    const dir = join(await newDirectory(), 'with a space')
    await mkdir(join(dir, 'fetching-left-by-a-crash'), { recursive: true })
    const said: string[] = []
    // The default data directory is `./data`.
    const binary = await findRedis({ dir: relative('', dir), path: '', progress: text => said.push(text) })
    expect(said).toHaveLength(1)
    expect(binary.command.at(-1)).toContain(dir)
    expect(await readdir(dir)).toEqual(['redis-server'])
    const redis = await start(join(dir, 'redis'), { binary })
    const client = await connectRedis({ path: redis.path }, { name: 'test', patience: 'producer', log: keepLog() })
    expect(await client.info('server')).toContain(`redis_version:${binary.version}`)
    client.disconnect()
    expect(await findRedis({ dir, path: '', progress: text => said.push(text) })).toEqual(binary)
    expect(said).toHaveLength(1)
  })
})
