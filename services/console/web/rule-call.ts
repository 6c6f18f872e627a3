// The calls about rules that the client does not make: validation of what is half written, versions, and rules tried on the past.
import { TelltaleError } from '../../../packages/client/index.ts'
import { isObject, type Json, type Problem } from './draft.ts'
import type { Feed } from './feed.ts'

export type Validation = {
  readonly valid: boolean
  readonly rule?: Json
  readonly yaml?: string
  readonly errors: readonly Problem[]
}

export type Version = { readonly version: number; readonly by: string; readonly time: string; readonly rule: Json | null }

export type RulesPage = { readonly rules: readonly Json[]; readonly nextPageToken: string }

export function pathOf(feed: Feed, below: string): string {
  return `/v2/projects/${encodeURIComponent(feed.project)}/${below}`
}

export function rulePath(feed: Feed, rule: string, below = ''): string {
  return pathOf(feed, `rules/${encodeURIComponent(rule)}${below}`)
}

/** A rule as JSON, or as the text of a YAML document. */
export async function validate(feed: Feed, rule: Json | string): Promise<Validation> {
  const path = pathOf(feed, 'rules:validate')
  const answer = typeof rule === 'string' ? await sendYaml(path, rule) : await feed.client.request<Validation>('POST', path, { body: rule })
  return { ...answer, errors: answer.errors.map(problemOf) }
}

/** The client speaks JSON only; the lines and columns of errors are those of the text. */
async function sendYaml(path: string, text: string): Promise<Validation> {
  const headers = { 'content-type': 'application/yaml', 'x-telltale-console': '1' }
  const response = await fetch(path, { method: 'POST', headers, body: text, redirect: 'error' }).catch((cause: unknown) => {
    throw new TelltaleError(0, 'no answer from the server', { cause })
  })
  const body: unknown = await response.json()
  if (response.ok) return body as Validation
  const message = isObject(body) && typeof body['message'] === 'string' ? body['message'] : `the server answered ${response.status}`
  throw new TelltaleError(response.status, message)
}

function problemOf(problem: Problem): Problem {
  return { ...problem, field: problem.field ?? '', message: problem.message ?? 'is not valid' }
}

export function getSchema(feed: Feed): Promise<Json> {
  return feed.client.request<Json>('GET', '/v2/rules.schema.json')
}

export async function listRules(feed: Feed, pageSize: number): Promise<RulesPage> {
  return feed.client.request<RulesPage>('GET', pathOf(feed, 'rules'), { query: { pageSize } })
}

export function getRule(feed: Feed, rule: string): Promise<Json> {
  return feed.client.request<Json>('GET', rulePath(feed, rule))
}

/** Refused when there is one of this name. */
export function createRule(feed: Feed, rule: Json): Promise<Json> {
  return feed.client.request<Json>('POST', pathOf(feed, 'rules'), { body: rule })
}

/** Refused when somebody has saved another version than this one meanwhile. */
export function replaceRule(feed: Feed, rule: Json, ifVersion: unknown): Promise<Json> {
  const query = typeof ifVersion === 'number' ? { ifVersion } : {}
  return feed.client.request<Json>('PUT', rulePath(feed, String(rule['name'])), { body: rule, query })
}

export function removeRule(feed: Feed, rule: string, notify: boolean): Promise<unknown> {
  return feed.client.request('DELETE', rulePath(feed, rule), { query: notify ? { notify } : {} })
}

/** Newest first. */
export async function listVersions(feed: Feed, rule: string): Promise<readonly Version[]> {
  const answer = await feed.client.request<{ readonly versions: readonly Version[] }>('GET', rulePath(feed, rule, '/versions'))
  return answer.versions
}
