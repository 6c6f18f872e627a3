// A real InfluxDB 1.x for tests: own directory, free ports on 127.0.0.1, can be killed and started again with its data.

import type { ChildProcess } from 'node:child_process'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'

export type Influxd = {
  readonly url: string
  /** SIGKILL: as a crash. */
  kill(): Promise<void>
  /** Starts it again on the same data and port, after `kill`. */
  restart(): Promise<void>
  /** Ends it and removes its data. */
  stop(): Promise<void>
}

const READY_LIMIT_MS = 15_000
const STOP_LIMIT_MS = 5_000

/** Whether tests can run against a real server. Says so when not, and fails the run when it is one of CI. */
export function hasInfluxd(): boolean {
  const found = (process.env.PATH ?? '').split(delimiter).some(folder => isExecutable(join(folder, 'influxd')))
  if (found) return true
  const message = 'influxd is not on the PATH: the tests of the InfluxDB store are skipped (apt-get install influxdb)'
  if (process.env.CI === 'true') throw new Error(message)
  console.warn(message)
  return false
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause) return false
    throw cause
  }
}

export async function startInfluxd(): Promise<Influxd> {
  const folder = mkdtempSync(join(tmpdir(), 'telltale-influxd-'))
  const [http, rpc] = [await freePort(), await freePort()]
  const url = `http://127.0.0.1:${http}`
  const config = join(folder, 'influxdb.conf')
  writeFileSync(config, configuration(folder, http, rpc))
  let child = await launch(config, url)
  const end = async (signal: NodeJS.Signals) => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const exit = once(child, 'exit')
    child.kill(signal)
    const forced = setTimeout(() => child.kill('SIGKILL'), STOP_LIMIT_MS)
    await exit
    clearTimeout(forced)
  }
  return {
    url,
    kill: () => end('SIGKILL'),
    restart: async () => {
      child = await launch(config, url)
    },
    stop: async () => {
      await end('SIGTERM')
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

async function launch(config: string, url: string): Promise<ChildProcess> {
  const child = spawn('influxd', ['-config', config], { stdio: ['ignore', 'ignore', 'pipe'] })
  let log = ''
  child.stderr?.on('data', part => {
    log = `${log}${part}`.slice(-4000)
  })
  const limit = Date.now() + READY_LIMIT_MS
  while (!(await answers(url))) {
    if (child.exitCode !== null || Date.now() > limit) {
      child.kill('SIGKILL')
      throw new Error(`influxd did not start:\n${log}`)
    }
  }
  return child
}

async function answers(url: string): Promise<boolean> {
  try {
    return (await fetch(`${url}/ping`)).ok
  } catch (cause) {
    // Not listening yet. A pause, so that asking does not keep the server from starting.
    await new Promise(resolve => setTimeout(resolve, 20))
    if (cause instanceof TypeError) return false
    throw cause
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

function configuration(folder: string, http: number, rpc: number): string {
  return `reporting-disabled = true
bind-address = "127.0.0.1:${rpc}"
[meta]
  dir = "${join(folder, 'meta')}"
[data]
  dir = "${join(folder, 'data')}"
  wal-dir = "${join(folder, 'wal')}"
  query-log-enabled = false
[monitor]
  store-enabled = false
[continuous_queries]
  enabled = false
[http]
  bind-address = "127.0.0.1:${http}"
  log-enabled = false
[logging]
  level = "warn"
`
}
