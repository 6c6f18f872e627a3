// The peer of the MQTT door: mosquitto as a plain broker.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findExecutable } from './executable.ts'
import { freePort, listening } from './peer.ts'

export type Mosquitto = { readonly port: number; readonly pid: number; stop(): Promise<void> }

/** Undefined, and said, where it is not installed. */
export async function startMosquitto(): Promise<Mosquitto | undefined> {
  const command = findExecutable('mosquitto')
  if (command === undefined) {
    console.warn('mosquitto is not installed: the peer is skipped (apt-get install mosquitto)')
    return undefined
  }
  const folder = await mkdtemp(join(tmpdir(), 'telltale-mosquitto-'))
  const port = await freePort()
  // Unbounded, so that it drops nothing: the load waits for what it sent.
  const limits = 'max_queued_messages 0\nmax_inflight_messages 0\nmax_connections -1'
  const config = `listener ${port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\npersistence false\nlog_type error\n${limits}\n`
  await writeFile(join(folder, 'mosquitto.conf'), config)
  const child = spawn(command, ['-c', join(folder, 'mosquitto.conf')], { stdio: 'ignore' })
  await listening(port, 'mosquitto')
  return {
    port,
    pid: child.pid ?? 0,
    async stop() {
      const exit = once(child, 'exit')
      child.kill('SIGKILL')
      await exit
      await rm(folder, { recursive: true, force: true })
    },
  }
}
