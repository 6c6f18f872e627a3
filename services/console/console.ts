// The console role: people and their programs manage things here, and find the page at `/`.
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import fastifyStatic from '@fastify/static'
import { contentKey } from '../../packages/core/id.ts'
import { asciiJson } from '../../packages/core/json.ts'
import { formatTime } from '../../packages/core/time.ts'
import type { Identity } from '../../packages/identity/identity.ts'
import { indexLine } from '../../packages/log/entry.ts'
import type { Log } from '../../packages/log/log.ts'
import type { Outbound } from '../../packages/outbound/outbound.ts'
import type { Wakes } from '../../packages/queue/queue.ts'
import type { HttpApp } from '../../packages/runtime/http.ts'
import { newId } from '../../packages/runtime/id.ts'
import type { Alarms } from '../../packages/state/alarm.ts'
import type { AttemptSummary } from '../../packages/state/attempt.ts'
import type { Channels } from '../../packages/state/channel.ts'
import type { Connectors } from '../../packages/state/connector.ts'
import type { Devices, LabelChange } from '../../packages/state/device.ts'
import type { Quarantine } from '../../packages/state/quarantine.ts'
import type { Rules } from '../../packages/state/rule.ts'
import type { ReadingStore } from '../../packages/store/store.ts'
import { addAlarmRoutes } from './alarm.ts'
import { addChannelRoutes } from './channel.ts'
import { addConnectorRoutes } from './connector.ts'
import { addDeviceRoutes } from './device.ts'
import { addHistoryRoutes } from './history.ts'
import { addQuarantineRoutes } from './quarantine.ts'
import { addRuleRoutes } from './rule.ts'
import { addSessionRoutes } from './session.ts'
import { addStatusRoutes } from './status.ts'

export type ConsolePorts = {
  readonly log: Log
  readonly wakes: Wakes
  readonly store: ReadingStore
  readonly identity: Identity
  readonly outbound: Outbound
  readonly devices: Devices
  readonly rules: Rules
  readonly alarms: Alarms
  readonly channels: Channels
  readonly quarantine: Quarantine
  readonly connectors: Connectors
  readonly connectorOutbound: Outbound
  /** How a data connector's attempts went. */
  attempts(project: string, connector: string): Promise<AttemptSummary>
  readonly consumers: readonly string[]
}

const nowUs = () => Date.now() * 1000

export async function addConsole(app: HttpApp, ports: ConsolePorts): Promise<void> {
  const { log, wakes, devices } = ports
  addSessionRoutes(app, ports.identity)
  addDeviceRoutes(app, { devices, labelsChanged: (project, device, change) => appendLabels(ports, project, device, change) })
  addHistoryRoutes(app, { store: ports.store, nowUs })
  addRuleRoutes(app, { rules: ports.rules, channels: ports.channels, changed: project => wakes.wake(project, 'judge') })
  addAlarmRoutes(app, { alarms: ports.alarms, nowUs })
  addChannelRoutes(app, ports)
  addConnectorRoutes(app, { ...ports, nowUs })
  addQuarantineRoutes(app, ports.quarantine)
  await addStatusRoutes(app, { log, consumers: ports.consumers, devices: project => devices.count(project), nowMs: Date.now })
  await addPage(app)
}

/** Everybody who follows the log learns of the change in its place between the device's events (contracts.md 1.a.6). */
async function appendLabels({ log, wakes }: ConsolePorts, project: string, device: string, change: LabelChange): Promise<void> {
  const timeUs = nowUs()
  const eventId = newId()
  const frame = asciiJson({
    eventId,
    targetName: `projects/${project}/devices/${device}`,
    eventType: 'labelsChanged',
    data: change,
    timestamp: formatTime(timeUs),
  })
  const batch = { index: [indexLine(device, 'labelsChanged', timeUs)], frames: [frame], keys: [contentKey(eventId)], modes: 'a' }
  for (const consumer of (await log.append(project, batch)).wake) wakes.wake(project, consumer)
}

/** Built by Vite beside the compiled services; in a checkout that runs from its sources it lies in `dist`. */
const PAGES = ['./web/', '../../dist/services/console/web/'].map(path => fileURLToPath(new URL(path, import.meta.url)))

async function addPage(app: HttpApp): Promise<void> {
  const root = PAGES.find(path => existsSync(`${path}index.html`) && existsSync(`${path}assets`))
  if (root === undefined) return
  const open = { config: { open: true } }
  await app.register(fastifyStatic, { root, serve: false, index: false })
  app.get('/', open, (_request, reply) => reply.header('cache-control', 'no-cache').sendFile('index.html'))
  app.get<{ Params: { '*': string } }>('/assets/*', open, (request, reply) =>
    reply.header('cache-control', 'public, max-age=31536000, immutable').sendFile(`assets/${request.params['*']}`),
  )
}
