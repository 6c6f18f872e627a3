// Fan-out: one published event goes to every reader. The readers are a process of their own; what counts is the server's CPU.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { fileURLToPath } from 'node:url'
import { generate } from './generator.ts'
import { spent, usageOf } from './process.ts'
import { Server } from './server.ts'
import type { Stage } from './stage.ts'

type Readers = { readonly port: number; readonly authorization: string; readonly count: number }

const NEWLINE = 10

export async function measureFanOut(readers: number, rate: number, seconds: number): Promise<Stage> {
  const server = await Server.start({})
  const { httpPort: port, authorization, mqttPort, login } = server
  const work = { port: mqttPort, login, project: 'default', connections: 10, devices: 100, window: 50 }
  await generate({ ...work, total: 2000 })
  const child = fork(fileURLToPath(import.meta.url), [JSON.stringify({ port, authorization, count: readers } satisfies Readers)], {
    execArgv: ['--import', 'tsx'],
  })
  try {
    await once(child, 'message')
    const before = usageOf(server.pid)
    const started = performance.now()
    await generate({ ...work, total: rate * seconds, rate })
    child.send(rate * seconds * readers)
    await once(child, 'message')
    const elapsed = (performance.now() - started) / 1000
    const used = Object.values(spent(before, usageOf(server.pid))).reduce((sum, one) => sum + one, 0)
    const deliveries = rate * seconds * readers
    const note = `${readers} readers of ${rate} events/s; CPU of node and redis, with accepting, judging and storing`
    return { name: 'stream: frames delivered', perSecond: deliveries / elapsed, perCpuSecond: deliveries / used, note }
  } finally {
    child.kill()
    await server.stop()
  }
}

/** Counts lines; says `ready` when all readers are joined, and `done` when they have what they are told to expect. */
function read({ port, authorization, count }: Readers): void {
  let joined = 0
  let frames = 0
  let expected = Number.POSITIVE_INFINITY
  const check = () => {
    if (frames >= expected) process.send?.('done')
  }
  process.on('message', total => {
    expected = total as number
    check()
  })
  for (let i = 0; i < count; i++) {
    const socket = connect(port, '127.0.0.1')
    socket.write(`GET /v2/projects/default/devices:stream HTTP/1.0\r\nauthorization: ${authorization}\r\n\r\n`)
    let headed = false
    socket.on('data', chunk => {
      let at = 0
      if (!headed) {
        at = chunk.indexOf('\r\n\r\n') + 4
        headed = true
        if (++joined === count) process.send?.('ready')
      }
      for (at = chunk.indexOf(NEWLINE, at); at >= 0; at = chunk.indexOf(NEWLINE, at + 1)) frames++
      check()
    })
    socket.on('error', error => {
      throw error
    })
  }
}

if (process.send && process.argv[1] === fileURLToPath(import.meta.url)) read(JSON.parse(process.argv[2] ?? '{}') as Readers)
