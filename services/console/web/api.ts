// The calls the page makes to its own origin. A refused call is a Failure that carries the server's words.
import { Failure, type FailureCode } from '../../../packages/core/failure.ts'
import type { Alarm } from './alarm.ts'

export type Session = { readonly keyId: string; readonly project: string; readonly projects: readonly string[] }

/** A device as the API gives it: `name` is the resource name, `reported` the newest event of each type. */
export type DeviceDocument = {
  readonly name: string
  readonly type: string
  readonly labels: { readonly [key: string]: string }
  readonly reported?: { readonly [eventType: string]: unknown }
}

export type WindowDocument = {
  readonly startTime: string
  readonly count: number
  readonly mean: number
  readonly min: number
  readonly max: number
}

export type WindowQuery = {
  readonly device: string
  readonly eventType: string
  readonly field: string
  readonly fromMs: number
  readonly toMs: number
  readonly window: string
}

const CODES: ReadonlyMap<number, FailureCode> = new Map([
  [400, 'invalid'],
  [401, 'unauthenticated'],
  [403, 'forbidden'],
  [404, 'not_found'],
  [409, 'conflict'],
  [413, 'too_large'],
])
const TIMEOUT_MS = 15_000

/** The session of this browser's cookie, or undefined when there is none. */
export async function readSession(): Promise<Session | undefined> {
  try {
    return await call<Session>('/console/session')
  } catch (error) {
    if (error instanceof Failure && error.code === 'unauthenticated') return undefined
    throw error
  }
}

export function signIn(keyId: string, secret: string): Promise<Session> {
  return call<Session>('/console/session', 'POST', { keyId, secret })
}

export async function signOut(): Promise<void> {
  await call('/console/session', 'DELETE')
}

/** Every device of the project; `onPage` sees each page as it comes. */
export async function listDevices(project: string, onPage: (devices: readonly DeviceDocument[]) => void): Promise<void> {
  type Page = { readonly devices: readonly DeviceDocument[]; readonly nextPageToken: string }
  for (let token = ''; ; ) {
    const page = await call<Page>(`${projectPath(project)}/devices?${pageQuery(token)}`)
    onPage(page.devices)
    token = page.nextPageToken
    if (token === '') return
  }
}

export function getDevice(project: string, device: string): Promise<DeviceDocument> {
  return call<DeviceDocument>(`${projectPath(project)}/devices/${encodeURIComponent(device)}`)
}

export async function listWindows(project: string, query: WindowQuery): Promise<WindowDocument[]> {
  type Page = { readonly readings: readonly WindowDocument[]; readonly nextPageToken: string }
  const parameters = new URLSearchParams({
    eventType: query.eventType,
    field: query.field,
    startTime: new Date(query.fromMs).toISOString(),
    endTime: new Date(query.toMs).toISOString(),
    window: query.window,
  })
  const all: WindowDocument[] = []
  for (let token = ''; ; ) {
    if (token !== '') parameters.set('pageToken', token)
    const page = await call<Page>(`${projectPath(project)}/devices/${encodeURIComponent(query.device)}/readings?${parameters}`)
    all.push(...page.readings)
    token = page.nextPageToken
    if (token === '') return all
  }
}

/** Up to `limit` alarms. `more`: there are others that were not loaded. */
export async function listAlarms(project: string, limit: number): Promise<{ alarms: Alarm[]; more: boolean }> {
  type Page = { readonly alarms: readonly Alarm[]; readonly nextPageToken: string }
  const alarms: Alarm[] = []
  for (let token = ''; ; ) {
    const page = await call<Page>(`${projectPath(project)}/alarms?${pageQuery(token)}`)
    alarms.push(...page.alarms)
    token = page.nextPageToken
    if (token === '' || alarms.length >= limit) return { alarms, more: token !== '' }
  }
}

export function acknowledgeAlarm(project: string, alarmId: string, comment: string): Promise<Alarm> {
  return call<Alarm>(`${projectPath(project)}/alarms/${encodeURIComponent(alarmId)}:acknowledge`, 'POST', { comment })
}

export function projectPath(project: string): string {
  return `/v2/projects/${encodeURIComponent(project)}`
}

function pageQuery(token: string): string {
  const parameters = new URLSearchParams({ pageSize: '100' })
  if (token !== '') parameters.set('pageToken', token)
  return parameters.toString()
}

async function call<T>(path: string, method = 'GET', body?: unknown): Promise<T> {
  const headers = new Headers({ accept: 'application/json' })
  if (method !== 'GET') headers.set('x-telltale-console', '1')
  if (body !== undefined) headers.set('content-type', 'application/json')
  const init: RequestInit = { method, headers, signal: AbortSignal.timeout(TIMEOUT_MS) }
  if (body !== undefined) init.body = JSON.stringify(body)
  const response = await reach(path, init)
  const text = await response.text()
  const answer = parse(text)
  if (response.ok && answer !== undefined) return answer as T
  throw new Failure(CODES.get(response.status) ?? 'unavailable', messageOf(answer) ?? `the server answered ${response.status}`)
}

async function reach(path: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(path, init)
  } catch (cause) {
    throw new Failure('unavailable', 'the server cannot be reached', { cause })
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** `{"error":"…"}` and, from streams, `{"error":{"message":"…"}}`. */
function messageOf(answer: unknown): string | undefined {
  if (typeof answer !== 'object' || answer === null || !('error' in answer)) return undefined
  const { error } = answer
  if (typeof error === 'string') return error
  return typeof error === 'object' && error !== null && 'message' in error ? String(error.message) : undefined
}
