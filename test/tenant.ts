// Words for tests of who may do what: service accounts with a role, their tokens, and calls in their name.
import jsonwebtoken from 'jsonwebtoken'
import type { Answer, Json, Telltale } from './world.ts'

export const REAL_AUDIENCE = 'https://identity.disruptive-technologies.com/oauth2/token'

export type Somebody = {
  /** `projects/{project}/serviceaccounts/{id}` */
  readonly name: string
  readonly id: string
  readonly email: string
  readonly keyId: string
  readonly secret: string
  /** With an access token. */
  call(method: string, path: string, body?: unknown): Promise<Answer>
  token(): Promise<string>
}

/** Fails with the answer's text, so that a test says what went wrong. */
export async function done(answer: Promise<Answer>): Promise<Json> {
  const { status, text, json } = await answer
  if (status !== 200) throw new Error(`${status} ${text}`)
  return json
}

/** A field that holds a text. */
export function text(json: Json | undefined, field: string): string {
  const value = json?.[field]
  if (typeof value !== 'string') throw new Error(`no text in ${field}: ${JSON.stringify(json)}`)
  return value
}

/** The last part of a name. */
export function idOf(name: unknown): string {
  return String(name).split('/').at(-1) ?? ''
}

/** A new project of the first organisation, with nothing in it. */
export async function newProject(telltale: Telltale, displayName = 'Another'): Promise<string> {
  const made = await done(telltale.send('POST', '/v2/projects', { displayName, organization: 'organizations/default' }))
  return idOf(made['name'])
}

/** A service account made in this project, with one key, and roles in these scopes. */
export async function newAccount(telltale: Telltale, project: string, roles: Readonly<Record<string, string>> = {}): Promise<Somebody> {
  const account = await done(telltale.send('POST', `/v2/projects/${project}/serviceaccounts`, { displayName: 'somebody' }))
  const { name, email } = account as { name: string; email: string }
  const { key, secret } = (await done(telltale.http(`/v2/${name}/keys`, { method: 'POST' }))) as { key: { id: string }; secret: string }
  for (const [scope, role] of Object.entries(roles))
    await done(telltale.send('POST', `/v2/${scope}/members`, { email, roles: [`roles/${role}`] }))
  const token = () => newToken(telltale, email, key.id, secret)
  const held = await token()
  return {
    name,
    id: idOf(name),
    email,
    keyId: key.id,
    secret,
    token,
    call: (method, path, body) => callWith(telltale, held, method, path, body),
  }
}

export function callWith(telltale: Telltale, token: string, method: string, path: string, body?: unknown): Promise<Answer> {
  const headers = { authorization: `Bearer ${token}` }
  return telltale.http(path, { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) })
}

/** As the page of the API says it is done. */
export async function newToken(telltale: Telltale, email: string, keyId: string, secret: string): Promise<string> {
  const nowSeconds = Math.floor(Date.now() / 1000)
  const claims = { iss: email, aud: REAL_AUDIENCE, iat: nowSeconds, exp: nowSeconds + 3600 }
  const assertion = jsonwebtoken.sign(claims, secret, { algorithm: 'HS256', keyid: keyId })
  const body = new URLSearchParams({ grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', assertion })
  const response = await fetch(`${telltale.url()}/oauth2/token`, { method: 'POST', body })
  const answer = (await response.json()) as { access_token?: string }
  if (answer.access_token === undefined) throw new Error(JSON.stringify(answer))
  return answer.access_token
}
