// Every operation of the OpenAPI document, called as the document's own examples say, in one fixed order against a real server: what
// they name is made first. Answers are what is promised, and have the fields of the documented answers.
import jsonwebtoken from 'jsonwebtoken'
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  bodyExamples,
  breaches,
  type Document,
  documentOf,
  exampleBreaches,
  isStream,
  type Operation,
  operationsOf,
  type Parameter,
  unlikeExample,
} from './specification.ts'
import { done, idOf, REAL_AUDIENCE, text } from './tenant.ts'
import { type Answer, EVENTS, eventually, type Json, removeDirectories, startTelltale, type Telltale, temperature } from './world.ts'

type Line = {
  /** 200 unless given. */
  readonly status?: number
  /** Makes what the examples name. */
  readonly before?: () => Promise<unknown>
  /** Where the example of the path cannot be used: `default` is not to be deleted, nor what is used later. */
  readonly path?: Readonly<Record<string, string>>
  readonly after?: (answer: Json) => unknown
}

let telltale: Telltale
let document: Document
beforeAll(async () => {
  telltale = await startTelltale({ env: { TELLTALE_WEBHOOK_ALLOW_PRIVATE: 'true' } })
  document = await documentOf(telltale)
}, 60_000)
afterAll(async () => {
  await telltale?.remove()
  await removeDirectories()
})

/** Ids that the server chooses, by what the examples have in their place. */
const real = new Map<string, string>()
const ACCOUNT = 'cr1tq0gd2kq0f5m3n780'
const KEY = 'cr1tq0gd2kq0f5m3n78g'
const CREDENTIAL = `dev${KEY}`
const SILENCE = 'cr3mq0gd2kq0f5m3n7c0'
const ALERTING = 'cr22v0p8d2kq0f5m3n7a'
const EMULATED = `emu${ACCOUNT}`
const MESSAGE = 'CAEQBCAABTkwAAAB'
const RECORD = '1772433669104-0'
const CONNECTOR = 'cr20v0p8d2kq0f5m3n7a'
/** What the line before it has made, for lines that end something. */
const MADE = 'made'
const WORKSHOP = 'projects/workshop/'
const FREEZER = '/v2/projects/default/devices/freezer-1'

/** Its consumers are sent away. */
const PULLED_BY = '/v2/projects/default/streams/plant-a/subscriptions/historian?force=true'

/** By their operation ids, in the order in which they are called. */
const LINES: readonly [operationId: string, line?: Line][] = [
  ['getHealth'],
  ['getReadiness'],
  ['getMetrics'],
  ['listRoles'],
  ['getRole'],
  ['createEvents'],
  ['publish', { after: () => reported('freezer-1') }],
  ['createLabel'],
  ['listLabels'],
  ['getLabel'],
  ['updateLabel'],
  ['deleteLabel'],
  ['batchUpdateDevices'],
  ['putDevice'],
  ['getDevice'],
  ['listDevices'],
  ['listEvents', { before: () => stored() }],
  ['listReadings'],
  ['streamEvents'],
  ['streamDeviceEvents'],
  ['createCredential', { after: ({ id }) => real.set(CREDENTIAL, String(id)) }],
  ['listCredentials'],
  ['deleteCredential'],
  ['createEmulatedDevice', { after: ({ name }) => real.set(EMULATED, idOf(name)) }],
  ['deleteDevice', { path: { device: EMULATED } }],
  ['createEmulatedDeviceEmulator', { after: ({ name }) => real.set(EMULATED, idOf(name)) }],
  ['listEmulatedDevices'],
  ['publishEmulated'],
  ['getEmulatedDevice', { before: () => reported(real.get(EMULATED)) }],
  ['putEmulatedDevice'],
  ['deleteEmulatedDevice'],
  ['putChannel'],
  ['getChannel'],
  ['listChannels'],
  ['createRule'],
  ['putRule'],
  ['getRule'],
  ['listRules'],
  ['listRuleVersions'],
  ['validateRule'],
  ['applyRules'],
  ['testRule'],
  ['getRuleSchema'],
  ['backtestDraft'],
  ['backtestRule'],
  ['explainRule'],
  ['suggestRule'],
  ['putRuleShadow'],
  ['getRuleShadow'],
  ['deleteRuleShadow'],
  ['getAlarm', { before: () => warmed() }],
  ['listAlarms'],
  ['streamAlarms'],
  ['acknowledgeAlarm'],
  ['unacknowledgeAlarm'],
  ['assignAlarm'],
  ['commentAlarm'],
  ['snoozeAlarm'],
  ['listAlarmHistory'],
  ['listProjectAlarmHistory'],
  ['listAlarmReceipts'],
  ['createSilence', { after: ({ id }) => real.set(SILENCE, String(id)) }],
  ['putSilence'],
  ['getSilence'],
  ['listSilences'],
  ['previewSilence'],
  ['deleteSilence'],
  ['createNotificationRule', { after: ({ name }) => real.set(ALERTING, idOf(name)) }],
  ['listNotificationRules'],
  ['getNotificationRule'],
  ['putNotificationRule'],
  ['deleteNotificationRule'],
  ['listOrganizationNotificationRules'],
  // A rule is of one project.
  ['createOrganizationNotificationRule', { status: 400 }],
  ['deleteRule'],
  ['deleteChannel'],
  ['createDataConnector', { after: ({ name }) => real.set(CONNECTOR, idOf(name)) }],
  ['listDataConnectors'],
  ['getDataConnector'],
  ['updateDataConnector'],
  ['getDataConnectorMetrics'],
  ['syncDataConnector'],
  ['replayDataConnector'],
  ['deleteDataConnector'],
  ['createStream'],
  ['putStream'],
  ['getStream'],
  ['listStreams'],
  ['updateStream'],
  ['createSubscription'],
  ['appendMessages', { after: ({ messages }) => real.set(MESSAGE, (messages as { messageId: string }[])[0]?.messageId ?? '') }],
  ['listMessages'],
  ['pullMessages'],
  ['nackMessages'],
  ['ackMessages'],
  ['listSubscriptions'],
  ['getSubscription'],
  ['resetSubscription'],
  ['clearSubscription'],
  // Who pulled is a consumer until the last lease ends.
  ['deleteSubscription', { status: 409 }],
  ['deleteStream', { before: () => done(telltale.http(PULLED_BY, { method: 'DELETE' })) }],
  ['listFormats'],
  ['createDecoder'],
  ['putDecoder'],
  ['getDecoder'],
  ['listDecoders'],
  ['testDecoders'],
  ['testDecoder'],
  ['putEventSchema'],
  ['getEventSchema'],
  ['listEventSchemas'],
  ['deleteEventSchema'],
  ['listQuarantine'],
  ['getQuarantineRecord', { before: () => refused() }],
  ['replayQuarantine'],
  ['deleteQuarantineRecord'],
  ['deleteDecoder'],
  ['previewBudget'],
  ['updateBudget'],
  ['getBudget'],
  ['getStatus'],
  ['streamStatus'],
  ['createServiceAccount', { after: ({ name }) => real.set(ACCOUNT, idOf(name)) }],
  ['listServiceAccounts'],
  ['getServiceAccount'],
  ['updateServiceAccount'],
  ['createKey', { after: answer => assert(answer) }],
  ['listKeys'],
  ['getKey'],
  ['createToken'],
  ['deleteKey'],
  ['createProjectMember'],
  ['listProjectMembers'],
  ['getProjectMember'],
  ['updateProjectMember'],
  // As it says: there is nothing to be invited to.
  ['getProjectMemberInviteUrl', { status: 400 }],
  ['deleteProjectMember'],
  ['createOrganizationMember'],
  ['listOrganizationMembers'],
  ['getOrganizationMember'],
  ['updateOrganizationMember'],
  ['getOrganizationMemberInviteUrl', { status: 400 }],
  ['deleteOrganizationMember'],
  ['deleteServiceAccount'],
  ['createOrganization', { after: ({ name }) => real.set(MADE, idOf(name)) }],
  ['listOrganizations'],
  ['getOrganization'],
  ['updateOrganization'],
  ['listOrganizationPermissions'],
  ['deleteOrganization', { path: { organization: MADE } }],
  ['createProject', { after: ({ name }) => real.set(MADE, idOf(name)).set(WORKSHOP, `${String(name)}/`) }],
  ['listProjects'],
  ['getProject'],
  ['updateProject'],
  ['listProjectPermissions'],
  ['transferDevices', { before: () => done(telltale.send('PUT', `/v2/${real.get(WORKSHOP)}devices/freezer-2`, { type: 'temperature' })) }],
  ['deleteProject', { path: { project: MADE } }],
  ['listProjectAudit'],
  ['listOrganizationAudit'],
]

test('the lines name every operation of the document once', () => {
  const ids = operationsOf(document).map(({ operationId }) => operationId)
  expect(LINES.map(([operationId]) => operationId).toSorted()).toEqual(ids.toSorted())
})

test('every example is what its schema says', () => {
  expect(exampleBreaches(document)).toEqual([])
})

test('every operation answers its examples as it is documented to', async () => {
  const operations = new Map(operationsOf(document).map(operation => [operation.operationId, operation]))
  const problems: string[] = []
  for (const [operationId, line = {}] of LINES) {
    const operation = operations.get(operationId)
    if (!operation) throw new Error(`${operationId} is not in the document`)
    await line.before?.()
    for (const sent of requestsOf(operation, line)) {
      const answer = await call(operation, sent)
      const said = `${operationId}: ${operation.method} ${sent.path} ${sent.body ?? ''} → ${answer.status} ${answer.text}`
      problems.push(...problemsOf(operation, line.status ?? 200, answer).map(problem => `${problem}\n  ${said}`))
      line.after?.(answer.json)
    }
  }
  expect(problems.join('\n\n')).toBe('')
}, 60_000)

type Sent = { readonly path: string; readonly type?: string; readonly body?: string }

/** One for each content type that the body may have. */
function requestsOf(operation: Operation, { path = {} }: Line): Sent[] {
  const example = (parameter: Parameter) => path[parameter.name] ?? parameter.example
  const missing = operation.parameters.filter(parameter => parameter.required && example(parameter) === undefined)
  if (missing.length > 0) throw new Error(`${operation.operationId}: no example of ${missing.map(({ name }) => name).join(', ')}`)
  const query = new URLSearchParams(
    operation.parameters
      .filter(parameter => parameter.in === 'query' && example(parameter) !== undefined)
      .flatMap(parameter => [example(parameter)].flat().map((value): [string, string] => [parameter.name, String(value)])),
  )
  const values = Object.fromEntries(operation.parameters.map(parameter => [parameter.name, String(example(parameter))]))
  const filled = operation.path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(actual(values[name] ?? '')))
  const address = query.size > 0 ? `${filled}?${query.toString()}` : filled
  const bodies = bodyExamples(operation).map(([type, body]) => ({ path: address, type, body: actual(encoded(type, body)) }))
  return bodies.length > 0 ? bodies : [{ path: address }]
}

function encoded(type: string, body: unknown): string {
  return type === 'application/x-www-form-urlencoded' ? String(new URLSearchParams(body as Record<string, string>)) : JSON.stringify(body)
}

/** With the ids that there really are; the longest first, because one may hold another. */
function actual(example: string): string {
  const known = [...real].toSorted(([a], [b]) => b.length - a.length)
  return known.reduce((text, [id, made]) => text.replaceAll(id, made), example)
}

async function call(operation: Operation, { path, type, body }: Sent): Promise<Answer> {
  if (isStream(operation)) return firstFrame(path)
  return telltale.http(path, {
    method: operation.method,
    ...(type === undefined ? {} : { headers: { 'content-type': type } }),
    ...(body === undefined ? {} : { body }),
  })
}

/** The first that is not the ping a stream begins with, whether it comes as a line or as a server-sent event. */
async function firstFrame(path: string): Promise<Answer> {
  const { keyId, secret } = telltale.key
  const authorization = `Basic ${Buffer.from(`${keyId}:${secret}`).toString('base64')}`
  const response = await fetch(`${telltale.url()}${path}`, { headers: { authorization } })
  const { status, headers } = response
  let text = ''
  for await (const part of response.body ?? []) {
    text += Buffer.from(part).toString('utf8')
    const [frame] = text.split('\n').filter(line => /^(data: )?\{.*\}$/.test(line) && !line.includes('"eventType":"ping"'))
    if (frame === undefined) continue
    const json = JSON.parse(frame.replace('data: ', '')) as Json
    return { status, headers, text: frame, json }
  }
  return { status, headers, text, json: {} }
}

function problemsOf(operation: Operation, expected: number, { status, headers, text, json }: Answer): string[] {
  const body = isStream(operation) || headers.get('content-type')?.includes('json') ? json : text
  const wrong = status === expected ? '' : `expected ${expected}`
  return [wrong, breaches(operation, status, body), unlikeExample(operation, status, body)].filter(problem => problem !== '')
}

// ---- what the examples name

function reported(device = ''): Promise<unknown> {
  return eventually(async () => {
    const { reported } = await done(telltale.http(`/v2/projects/default/devices/${device}`))
    expect(reported).toHaveProperty('temperature')
  })
}

/** A record of the quarantine. */
async function refused(): Promise<void> {
  await telltale.send('POST', EVENTS, { targetName: 'projects/default/devices/freezer-1' })
  const { quarantine } = await done(telltale.http('/v2/projects/default/quarantine'))
  real.set(RECORD, (quarantine as { id: string }[])[0]?.id ?? '')
}

/** Two events of the time that the examples ask for. */
async function stored(): Promise<void> {
  const event = (value: number, timestamp: string) => ({ ...temperature('freezer-1', value), timestamp })
  await done(telltale.send('POST', EVENTS, [event(-18.4, '2026-03-02T06:41:09.104Z'), event(-18.2, '2026-03-02T06:43:00Z')]))
  await eventually(async () => {
    const { events } = await done(telltale.http(`${FREEZER}/events?start_time=2026-03-02T06:00:00Z&end_time=2026-03-02T07:00:00Z`))
    expect(events).toHaveLength(2)
  })
}

/** The rule that the examples have made looks at freezers, and now meets a warm one. */
async function warmed(): Promise<void> {
  await done(telltale.send('POST', `${FREEZER}/labels`, { key: 'kind', value: 'freezer' }))
  await eventually(async () => {
    await done(telltale.send('POST', EVENTS, temperature('freezer-1', 21.5)))
    const { alarms } = await done(telltale.http('/v2/projects/default/alarms'))
    expect(alarms).toContainEqual(expect.objectContaining({ rule: 'freezer-too-warm', device: 'freezer-1' }))
  })
}

/** A key has an id, and a secret that signs assertions in place of the one in the document. */
function assert(made: Json): void {
  const { key, secret } = made as { key: { id: string }; secret: string }
  real.set(KEY, key.id)
  const nowSeconds = Math.floor(Date.now() / 1000)
  const claims = { iss: actual(ACCOUNT), aud: REAL_AUDIENCE, iat: nowSeconds, exp: nowSeconds + 3600 }
  const [, body] = bodyExamples(operationsOf(document).find(({ operationId }) => operationId === 'createToken') as Operation)[0] ?? []
  real.set(text(body as Json, 'assertion'), jsonwebtoken.sign(claims, secret, { algorithm: 'HS256', keyid: key.id }))
}
