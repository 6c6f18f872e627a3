// Events in over HTTP, form by form, against a whole server on this machine: how many are on disk a second of CPU of the server and of Redis,
// and a second on the clock. All roles run: the worker stores them meanwhile, on a thread of its own.
import { Agent, request } from 'node:http'
import { gzipSync } from 'node:zlib'
import { usageOf } from './process.ts'
import { Server } from './server.ts'
import { aligned, whole } from './table.ts'

type Form = {
  readonly name: string
  readonly path: string
  readonly type: string
  readonly encoding?: string
  readonly events: number
  /** A body of its own for each request: what was seen before would be dropped. */
  readonly body: (from: number) => Buffer
}

export type HttpReport = { readonly name: string; readonly bytes: number; readonly perSecond: number; readonly perCpuSecond: number }

const CONNECTIONS = 16
const BATCH = 1000
const EVENTS = '/v2/projects/default/events'
const START_MS = 1_700_000_000_000

function jsonOf(i: number): string {
  const timestamp = new Date(START_MS + i).toISOString()
  return `{"targetName":"projects/default/devices/d${i % 1000}","eventType":"temperature","data":{"temperature":{"value":${20 + (i % 1000) / 100}}},"timestamp":"${timestamp}"}`
}

const lineOf = (i: number) => `temperature,device=d${i % 1000},site=oslo value=${20 + (i % 1000) / 100} ${START_MS + i}000000`
const many = (count: number, one: (i: number) => string, from: number) => Array.from({ length: count }, (_, i) => one(from + i))

const FORMS: readonly Form[] = [
  { name: 'one event a request', path: EVENTS, type: 'application/json', events: 1, body: from => Buffer.from(jsonOf(from)) },
  {
    name: 'array of 1,000',
    path: EVENTS,
    type: 'application/json',
    events: BATCH,
    body: from => Buffer.from(`[${many(BATCH, jsonOf, from).join()}]`),
  },
  {
    name: '1,000 lines',
    path: EVENTS,
    type: 'application/x-ndjson',
    events: BATCH,
    body: from => Buffer.from(many(BATCH, jsonOf, from).join('\n')),
  },
  {
    name: '1,000 lines, gzip',
    path: EVENTS,
    type: 'application/x-ndjson',
    encoding: 'gzip',
    events: BATCH,
    body: from => gzipSync(many(BATCH, jsonOf, from).join('\n')),
  },
  {
    name: 'line protocol, 1,000',
    path: '/api/v2/write?bucket=default',
    type: 'text/plain',
    events: BATCH,
    body: from => Buffer.from(many(BATCH, lineOf, from).join('\n')),
  },
  {
    name: 'line protocol, 1,000, gzip',
    path: '/api/v2/write?bucket=default',
    type: 'text/plain',
    encoding: 'gzip',
    events: BATCH,
    body: from => gzipSync(many(BATCH, lineOf, from).join('\n')),
  },
]

export async function measureHttp(seconds: number): Promise<HttpReport[]> {
  const reports: HttpReport[] = []
  for (const form of FORMS) {
    const server = await Server.start({ env: { TELLTALE_RATE_LIMIT: 'off' } })
    try {
      reports.push(await measure(server, form, seconds))
    } finally {
      await server.stop()
    }
  }
  return reports
}

export function renderHttp(reports: readonly HttpReport[]): string {
  const rows = reports.map(({ name, bytes, perSecond, perCpuSecond }) => [name, whole(bytes), whole(perSecond), whole(perCpuSecond)])
  return aligned([['HTTP, on disk when answered', 'bytes a request', 'events a second', 'events a CPU second'], ...rows])
}

async function measure(server: Server, form: Form, seconds: number): Promise<HttpReport> {
  // Made beforehand: what this process does is not measured.
  const count = form.events === 1 ? 20_000 : 150
  const bodies = Array.from({ length: count }, (_, i) => form.body(i * form.events))
  const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS })
  const cpu = () => usageOf(server.pid).reduce((sum, { cpuSeconds }) => sum + cpuSeconds, 0)
  const [startCpu, startMs] = [cpu(), performance.now()]
  let next = 0
  const client = async () => {
    while (next < bodies.length && performance.now() - startMs < seconds * 1000) await send(server, agent, form, bodies[next++] as Buffer)
  }
  await Promise.all(Array.from({ length: CONNECTIONS }, client))
  const events = next * form.events
  const bytes = bodies.reduce((sum, { length }) => sum + length, 0) / bodies.length
  const report = {
    name: form.name,
    bytes,
    perSecond: events / ((performance.now() - startMs) / 1000),
    perCpuSecond: events / (cpu() - startCpu),
  }
  agent.destroy()
  return report
}

function send(server: Server, agent: Agent, { path, type, encoding }: Form, body: Buffer): Promise<void> {
  const headers = {
    authorization: server.authorization,
    'content-type': type,
    'content-length': body.length,
    ...(encoding === undefined ? {} : { 'content-encoding': encoding }),
  }
  return new Promise((resolve, reject) => {
    request({ agent, port: server.httpPort, method: 'POST', path, headers }, answer => {
      let said = ''
      answer.setEncoding('utf8').on('data', (text: string) => {
        said += text
      })
      answer.on('end', () => {
        if (answer.statusCode === 200 || answer.statusCode === 204) resolve()
        else reject(new Error(`${path}: ${answer.statusCode} ${said.slice(0, 300)}`))
      })
    })
      .on('error', reject)
      .end(body)
  })
}
