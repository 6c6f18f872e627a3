// Where the server is and who we are there: options, else the environment, else what the embedded server left in its data directory.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { checkProject } from '../core/event.ts'
import { Failure, invalid } from '../core/failure.ts'

export type Target = {
  readonly httpUrl: string
  readonly mqttUrl: string
  readonly keyId: string
  readonly secret: string
  readonly project: string
}

export type TargetOptions = {
  readonly http?: string | undefined
  readonly mqtt?: string | undefined
  readonly keyId?: string | undefined
  readonly secret?: string | undefined
  readonly project?: string | undefined
}

export type Environment = { readonly [name: string]: string | undefined }

type Login = { readonly keyId: string; readonly secret: string; readonly project?: string | undefined }

export function resolveTarget(options: TargetOptions, env: Environment): Target {
  const login = loginFrom(options, env)
  // A server that listens on every address is reached on this one.
  const host = bracketed(['0.0.0.0', '::', undefined, ''].includes(env.TELLTALE_HOST) ? '127.0.0.1' : String(env.TELLTALE_HOST))
  const project = options.project ?? set(env.TELLTALE_PROJECT) ?? login.project ?? 'default'
  return {
    httpUrl: urlFrom('http', ['http:', 'https:'], options.http, env, host, '8080'),
    mqttUrl: urlFrom('mqtt', ['mqtt:', 'mqtts:', 'ws:', 'wss:'], options.mqtt, env, host, '1883'),
    keyId: login.keyId,
    secret: login.secret,
    project: checkProject(project, '--project'),
  }
}

function urlFrom(
  kind: 'http' | 'mqtt',
  protocols: readonly string[],
  option: string | undefined,
  env: Environment,
  host: string,
  port: string,
) {
  const name = kind.toUpperCase()
  const variable = `TELLTALE_${name}_URL`
  const given = option ?? set(env[variable])
  if (given === undefined) return `${kind}://${host}:${set(env[`TELLTALE_${name}_PORT`]) ?? port}`
  const url = URL.canParse(given) ? new URL(given) : undefined
  if (url === undefined || !protocols.includes(url.protocol) || url.hostname === '')
    throw invalid(option === undefined ? variable : `--${kind}`, `expected a URL such as ${kind}://127.0.0.1:${port}, got "${given}"`)
  return given.replace(/\/+$/, '')
}

function loginFrom(options: TargetOptions, env: Environment): Login {
  const keyId = options.keyId ?? set(env.TELLTALE_KEY_ID)
  const secret = options.secret ?? set(env.TELLTALE_SECRET)
  if (keyId !== undefined && secret !== undefined) return { keyId, secret }
  if (keyId !== undefined) throw invalid('--secret', `expected with --key-id ${keyId} (or TELLTALE_SECRET)`)
  if (secret !== undefined) throw invalid('--key-id', 'expected with --secret (or TELLTALE_KEY_ID)')
  return loginOfServer(join(set(env.TELLTALE_DATA_DIR) ?? 'data', 'admin.json'))
}

/** The embedded server writes its admin key to this file, readable by its own user only, for the command line on the same machine. */
function loginOfServer(path: string): Login {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (cause) {
    throw new Failure(
      'setup',
      `no credentials: expected --key-id and --secret, or TELLTALE_KEY_ID and TELLTALE_SECRET, or ${path} (${reason(cause)})`,
      { cause },
    )
  }
  const { keyId, secret, project } = parsed(path, text)
  if (typeof keyId !== 'string' || typeof secret !== 'string') throw new Failure('setup', `${path}: expected {"keyId","secret","project"}`)
  return { keyId, secret, project: typeof project === 'string' ? project : undefined }
}

function parsed(path: string, text: string): { readonly [key: string]: unknown } {
  try {
    return Object(JSON.parse(text))
  } catch (cause) {
    throw new Failure('setup', `${path}: expected JSON with keyId, secret and project`, { cause })
  }
}

function reason(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code
  if (code === 'ENOENT') return 'which is not there: has the server been started here, and TELLTALE_DATA_DIR set?'
  return code === 'EACCES' ? 'which this user may not read' : String(code)
}

function set(value: string | undefined): string | undefined {
  return value === '' ? undefined : value
}

function bracketed(host: string): string {
  return host.includes(':') && !host.startsWith('[') ? `[${host}]` : host
}
