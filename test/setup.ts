// Run once before all tests: what every Telltale that they start needs, a Redis server program and the built page.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestProject } from 'vitest/node'
import { findRedis } from '../packages/redis/index.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** For TELLTALE_REDIS_BINARY. */
    redisBinary: string
  }
}

/** Kept from run to run: a fetched copy is a few megabytes. */
const KEPT = join(tmpdir(), `telltale-test-redis-${process.getuid?.() ?? 'any'}`)

export default async function setup(project: TestProject): Promise<void> {
  build()
  await mkdir(KEPT, { recursive: true, mode: 0o700 })
  const { command } = await findRedis({ dir: KEPT, progress: text => console.warn(text) })
  project.provide('redisBinary', command.length === 1 ? command[0] : await oneProgram(command))
}

/** `npm run check` has built before; a bare `vitest run` in a fresh checkout has not. */
function build(): void {
  if (existsSync('dist/services/main.js') && existsSync('dist/services/console/web/index.html')) return
  console.warn('nothing is built yet: npm run build')
  const { status } = spawnSync('npm', ['run', 'build'], { stdio: 'inherit' })
  if (status !== 0) throw new Error('npm run build failed')
}

/** A fetched server is run through its own loader: the setting names one program, so this one says the whole command. */
async function oneProgram(command: readonly string[]): Promise<string> {
  const path = join(KEPT, 'redis-server.sh')
  await writeFile(path, `#!/bin/sh\nexec ${command.map(part => `'${part}'`).join(' ')} "$@"\n`, { mode: 0o700 })
  return path
}
