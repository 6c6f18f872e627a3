// The console role: people and their programs manage things here, and find the page at `/`.
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import fastifyStatic from '@fastify/static'
import type { LabelMatch } from '../../packages/core/device.ts'
import { DEVICES } from '../../packages/core/stream.ts'
import type { Identity } from '../../packages/identity/identity.ts'
import type { Dispatch } from '../../packages/log/durable/dispatch.ts'
import type { DurableStreams } from '../../packages/log/durable/stream.ts'
import type { Subscriptions } from '../../packages/log/durable/subscription.ts'
import type { Log } from '../../packages/log/log.ts'
import type { Outbound } from '../../packages/outbound/outbound.ts'
import type { Wakes } from '../../packages/queue/queue.ts'
import type { HttpApp } from '../../packages/runtime/http.ts'
import type { Accounts } from '../../packages/state/account.ts'
import type { Alarms } from '../../packages/state/alarm.ts'
import type { AttemptSummary } from '../../packages/state/attempt.ts'
import type { Audit } from '../../packages/state/audit.ts'
import type { Channels } from '../../packages/state/channel.ts'
import type { Connectors } from '../../packages/state/connector.ts'
import type { Credentials } from '../../packages/state/credential.ts'
import type { Devices } from '../../packages/state/device.ts'
import type { DeviceLists } from '../../packages/state/devicelist.ts'
import type { History } from '../../packages/state/history.ts'
import type { Judgements } from '../../packages/state/judgement.ts'
import type { Members } from '../../packages/state/member.ts'
import type { Organizations } from '../../packages/state/organization.ts'
import type { Outbox } from '../../packages/state/outbox.ts'
import type { Projects } from '../../packages/state/project.ts'
import type { Quarantine } from '../../packages/state/quarantine.ts'
import type { Rules } from '../../packages/state/rule.ts'
import type { Shadows } from '../../packages/state/shadow.ts'
import type { Silences } from '../../packages/state/silence.ts'
import type { ReadingStore } from '../../packages/store/store.ts'
import { addAccountRoutes } from './account.ts'
import { addAlarmRoutes } from './alarm.ts'
import { addAlarmHistoryRoutes } from './alarmhistory.ts'
import { addAuditRoutes } from './audit.ts'
import { addBacktestRoutes } from './backtest.ts'
import { addChannelRoutes } from './channel.ts'
import { addConnectorRoutes } from './connector.ts'
import { addConsumeRoutes } from './consume.ts'
import { addCredentialRoutes } from './credential.ts'
import { addDeviceRoutes } from './device.ts'
import { addDtRuleRoutes } from './dtrule.ts'
import { addEmulatorRoutes } from './emulator.ts'
import { addExplainRoute } from './explain.ts'
import { addHistoryRoutes } from './history.ts'
import { addLabelRoutes } from './label.ts'
import { addMemberRoutes } from './member.ts'
import { addMessageRoutes } from './message.ts'
import { addOrganizationRoutes } from './organization.ts'
import { addProjectRoutes } from './project.ts'
import { addQuarantineRoutes } from './quarantine.ts'
import { addRuleRoutes } from './rule.ts'
import { addRuleSetRoutes } from './ruleset.ts'
import { Running } from './running.ts'
import { addSessionRoutes } from './session.ts'
import { addShadowRoutes } from './shadow.ts'
import { addSilenceRoutes } from './silence.ts'
import { addStatusRoutes } from './status.ts'
import { addDurableStreamRoutes } from './stream.ts'
import { addSubscriptionRoutes } from './subscription.ts'
import { addSuggestRoute } from './suggest.ts'
import { addTokenRoute } from './token.ts'
import { addTransferRoutes } from './transfer.ts'

export type ConsolePorts = {
  readonly log: Log
  readonly wakes: Wakes
  readonly store: ReadingStore
  readonly identity: Identity
  readonly outbound: Outbound
  readonly devices: Devices
  readonly credentials: Credentials
  readonly lists: DeviceLists
  readonly rules: Rules
  readonly shadows: Shadows
  readonly alarms: Alarms
  readonly history: History
  readonly outbox: Outbox
  readonly silences: Silences
  readonly judgements: Judgements
  /** As the judge has it. */
  readonly latenessMs: number
  readonly channels: Channels
  readonly quarantine: Quarantine
  readonly connectors: Connectors
  readonly connectorOutbound: Outbound
  /** How a data connector's attempts went. */
  attempts(project: string, connector: string): Promise<AttemptSummary>
  readonly accounts: Accounts
  readonly members: Members
  readonly organizations: Organizations
  readonly projects: Projects
  readonly audit: Audit
  /** What several label filters mean to who does not say it. */
  readonly labelMatch: LabelMatch
  readonly durable: DurableStreams
  readonly subscriptions: Subscriptions
  readonly dispatch: Pick<Dispatch, 'join' | 'ack' | 'nack'>
  /** Of assertions; see token.ts. */
  readonly audiences: readonly string[]
  readonly consumers: readonly string[]
  /** How long the store keeps events; 0: for ever. */
  readonly retentionMs: number
}

const nowUs = () => Date.now() * 1000

export async function addConsole(app: HttpApp, ports: ConsolePorts): Promise<void> {
  const { log, wakes, devices, credentials } = ports
  addAuditRoutes(app, ports.audit)
  addSessionRoutes(app, ports.identity)
  addTokenRoute(app, ports)
  addIdentityRoutes(app, ports)
  const devicePorts = { devices, credentials, lists: ports.lists, labelMatch: ports.labelMatch, tokenKey: await log.cursorKey() }
  addDeviceRoutes(app, devicePorts)
  addCredentialRoutes(app, { ...ports, nowUs })
  addLabelRoutes(app, devices)
  addTransferRoutes(app, devicePorts)
  addEmulatorRoutes(app, devicePorts)
  addHistoryRoutes(app, { store: ports.store, devices, nowUs })
  const rulePorts = {
    rules: ports.rules,
    channels: ports.channels,
    labelKeys: (project: string) => devices.labelKeys(project),
    changed: (project: string) => wakes.wake(project, 'judge'),
    nowUs,
  }
  addRuleRoutes(app, rulePorts)
  addRuleSetRoutes(app, rulePorts)
  addDtRuleRoutes(app, { ...rulePorts, identity: ports.identity, outbound: ports.outbound, projects: ports.projects })
  addPastRoutes(app, ports)
  addAlarmRoutes(app, { alarms: ports.alarms, nowUs })
  addAlarmHistoryRoutes(app, { ...ports, nowUs })
  addSilenceRoutes(app, { ...ports, nowUs })
  addChannelRoutes(app, ports)
  addConnectorRoutes(app, { ...ports, nowUs })
  addQuarantineRoutes(app, ports.quarantine)
  addDurableStreamRoutes(app, ports)
  addMessageRoutes(app, ports)
  addSubscriptionRoutes(app, ports)
  addConsumeRoutes(app, ports)
  await addStatusRoutes(app, { log, consumers: ports.consumers, devices: project => devices.count(project), nowMs: Date.now })
  await addPage(app)
}

/** Rules over what has been. */
function addPastRoutes(app: HttpApp, ports: ConsolePorts): void {
  const running = new Running()
  app.addHook('preClose', async () => running.stop())
  addBacktestRoutes(app, { ...ports, running, nowUs })
  addShadowRoutes(app, { shadows: ports.shadows, changed: project => ports.wakes.wake(project, 'judge'), nowUs })
  addSuggestRoute(app, { ...ports, running, nowUs })
  addExplainRoute(app, { ...ports, running, nowUs })
}

function addIdentityRoutes(app: HttpApp, ports: ConsolePorts): void {
  const { devices, connectors } = ports
  addAccountRoutes(app, { ...ports, nowUs })
  addMemberRoutes(app, { ...ports, nowUs })
  addOrganizationRoutes(app, { ...ports, nowUs })
  addProjectRoutes(app, {
    ...ports,
    counts: async project => {
      const [all, cloudConnectors] = await Promise.all([devices.count(project), devices.countOf(project, 'ccon')])
      return { sensors: all - cloudConnectors, cloudConnectors }
    },
    contents: async project => {
      if ((await devices.count(project)) > 0) return 'devices'
      if ((await connectors.list(project)).length > 0) return 'data connectors'
      return (await ports.durable.made(project)).some(({ name }) => name !== DEVICES) ? 'streams' : undefined
    },
  })
}

/** Built by Vite beside the compiled services; in a checkout that runs from its sources it lies in `dist`. */
const PAGES = ['./web/', '../console/web/', '../../dist/services/console/web/'].map(path => fileURLToPath(new URL(path, import.meta.url)))

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
