// Whom a rule of DT's API tells (contracts.md 1.a.12): of its escalation levels the first, of its actions webhooks. All else is refused.
import { type Fields, joinPath, readObject, readString } from '../condition/input.ts'
import { invalid } from '../failure.ts'
import { formatSeconds, given, readSeconds } from './input.ts'

export type Level = {
  readonly displayName: string
  readonly escalateAfter: string | null
  readonly actions: readonly Webhook[]
}
export type Webhook = {
  readonly url: string
  /** Empty: none is said. */
  readonly signatureSecret: string
  /** An empty value is none that is said. */
  readonly headers: Readonly<Record<string, string>>
}

export const LEVELS = 'escalationLevels'
const OTHERS = ['sms', 'email', 'corrigo', 'serviceChannel', 'phoneCall', 'signalTower'] as const
const MAX_ACTIONS = 10
const MAX_HEADERS = 50
const MAX_URL_CHARS = 2000
const MAX_SECRET_CHARS = 1000
const MAX_NAME_CHARS = 256

/** Undefined: nobody is told, which an empty list says. */
export function parseLevels(input: unknown): Level | undefined {
  if (!Array.isArray(input)) throw invalid(LEVELS, 'expected a list of one level; an empty list when nobody is to be told')
  if (input.length > 1)
    throw invalid(`${LEVELS}[1]`, 'expected one level: there is no further one here; another rule with a longer triggerDelay tells others')
  return input.length === 0 ? undefined : parseLevel(input[0], `${LEVELS}[0]`)
}

function parseLevel(input: unknown, path: string): Level {
  const fields = readObject(input, path, ['displayName', 'escalateAfter', 'actions'])
  const afterMs = readSeconds(fields.escalateAfter, joinPath(path, 'escalateAfter'))
  const { actions } = fields
  if (!Array.isArray(actions) || actions.length === 0 || actions.length > MAX_ACTIONS)
    throw invalid(joinPath(path, 'actions'), `expected a list of 1 to ${MAX_ACTIONS} actions`)
  const webhooks = actions.map((one: unknown, index) => parseAction(one, `${path}.actions[${index}]`))
  const twice = webhooks.findIndex(({ url }, index) => webhooks.findIndex(other => other.url === url) !== index)
  if (twice >= 0) throw invalid(`${path}.actions[${twice}].webhook.url`, 'expected each address only once')
  return {
    displayName: readString(fields.displayName, joinPath(path, 'displayName'), MAX_NAME_CHARS),
    escalateAfter: afterMs === undefined ? null : formatSeconds(afterMs),
    actions: webhooks,
  }
}

function parseAction(input: unknown, path: string): Webhook {
  const fields = readObject(input, path, ['type', 'webhook', ...OTHERS])
  if (fields.type !== 'WEBHOOK') throw invalid(joinPath(path, 'type'), 'expected WEBHOOK: it is the type that there is here')
  const other = OTHERS.find(key => given(fields[key]) !== undefined)
  if (other !== undefined) throw invalid(joinPath(path, other), 'expected none with type WEBHOOK')
  return parseWebhook(fields.webhook, joinPath(path, 'webhook'))
}

function parseWebhook(input: unknown, path: string): Webhook {
  const fields = readObject(input, path, ['url', 'signatureSecret', 'headers'])
  const secret = given(fields.signatureSecret) ?? ''
  if (typeof secret !== 'string' || secret.length > MAX_SECRET_CHARS)
    throw invalid(joinPath(path, 'signatureSecret'), `expected a text of at most ${MAX_SECRET_CHARS} characters`)
  return {
    url: readString(fields.url, joinPath(path, 'url'), MAX_URL_CHARS),
    signatureSecret: secret,
    headers: parseHeaders(given(fields.headers) ?? {}, joinPath(path, 'headers')),
  }
}

function parseHeaders(input: unknown, path: string): Readonly<Record<string, string>> {
  if (typeof input !== 'object' || input === null || Array.isArray(input) || Object.keys(input).length > MAX_HEADERS)
    throw invalid(path, `expected an object of at most ${MAX_HEADERS} headers`)
  for (const [name, value] of Object.entries(input as Fields))
    if (typeof value !== 'string') throw invalid(`${path}.${name.slice(0, 64)}`, 'expected a text')
  return input as Readonly<Record<string, string>>
}
