// Scaled mode as it is shipped: the Compose file, its image and its proxy, as far as they can be judged without a Docker engine.
import { readFileSync } from 'node:fs'
import { Ajv } from 'ajv'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { parseConfig, ROLES } from '../services/config.ts'

type Service = {
  readonly image: string
  readonly build?: string
  readonly command?: string | string[]
  readonly environment?: Readonly<Record<string, string>>
  readonly depends_on?: Readonly<Record<string, { condition: string }>>
  readonly healthcheck?: { readonly test: string[] }
  readonly volumes?: readonly string[]
  readonly ports?: readonly string[]
}
type Compose = { readonly services: Readonly<Record<string, Service>>; readonly volumes: Readonly<Record<string, null>> }

const text = (path: string) => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8')
const source = text('docker-compose.yml')
const compose = parse(source, { merge: true }) as Compose
const services = Object.entries(compose.services)
const ours = services.filter(([, service]) => service.build !== undefined)

const strings = { type: 'array', items: { type: 'string' } }
const duration = { type: 'string', pattern: '^(\\d+(ms|s|m|h))+$' }
const size = { type: 'string', pattern: '^\\d+[bkmg]$' }
const record = (values: object) => ({ type: 'object', additionalProperties: values })
const strict = (properties: object, required: string[] = []) => ({ type: 'object', additionalProperties: false, properties, required })

/** Those keys of the Compose specification that we use (docs.docker.com/reference/compose-file): a misspelt one is not among them. */
const SERVICE = strict(
  {
    image: { type: 'string', pattern: '^[a-z0-9./-]+:\\d+\\.\\d+\\.\\d+[a-z0-9.-]*$' },
    build: { const: '.' },
    init: { type: 'boolean' },
    restart: { enum: ['no', 'always', 'on-failure', 'unless-stopped'] },
    stop_grace_period: duration,
    read_only: { type: 'boolean' },
    user: { type: 'string' },
    tmpfs: strings,
    cap_drop: strings,
    security_opt: strings,
    mem_limit: size,
    pids_limit: { type: 'integer' },
    logging: strict({ driver: { type: 'string' }, options: record({ type: 'string' }) }),
    command: { type: ['string', 'array'], items: { type: 'string' } },
    environment: record({ type: 'string' }),
    ports: strings,
    volumes: strings,
    healthcheck: strict({ test: strings, interval: duration, timeout: duration, start_period: duration, retries: { type: 'integer' } }),
    depends_on: record(
      strict({ condition: { enum: ['service_started', 'service_healthy', 'service_completed_successfully'] } }, ['condition']),
    ),
  },
  ['image', 'restart', 'mem_limit', 'pids_limit', 'logging'],
)
const FILE = strict(
  { name: { type: 'string' }, 'x-telltale': { type: 'object' }, services: record(SERVICE), volumes: record({ type: 'null' }) },
  ['name', 'services', 'volumes'],
)

/** Fills `${NAME:?…}` and `${NAME:-default}` as Compose does, with secrets such as the README makes them. */
function filled(value: string): string {
  return value.replace(/\$\{(\w+)(?::([-?])([^}]*))?\}/g, (_, _name, kind, given) => (kind === '-' ? given : '0123456789abcdef'.repeat(4)))
}

describe('the Compose file', () => {
  it('uses keys that Compose knows, pinned images, limits and a restart policy everywhere', () => {
    const validate = new Ajv({ allErrors: true, allowUnionTypes: true }).compile(FILE)
    validate(compose)
    expect(validate.errors ?? []).toEqual([])
  })

  it('runs each role once, from one image', () => {
    expect(ours.map(([name, { command }]) => [name, command])).toEqual(ROLES.map(role => [role, [role]]))
    expect(new Set(ours.map(([, { image }]) => image)).size).toBe(1)
  })

  it.each(ours)('gives %s settings that it knows and accepts', (name, { environment = {}, command = [] }) => {
    const env = Object.fromEntries(Object.entries(environment).map(([key, value]) => [key, filled(value)]))
    const config = parseConfig(env, [command].flat())
    expect([...config.roles]).toEqual([name])
    expect([config.redisUrl, config.influx?.url].map(url => new URL(url ?? '').hostname)).toEqual(['redis', 'influxdb'])
  })

  it('gives all roles the same secrets, and has none of its own', () => {
    for (const [, { environment }] of ours) expect(environment).toEqual(ours[0]?.[1].environment)
    for (const [, { environment = {} }] of services)
      for (const [key, value] of Object.entries(environment))
        if (/SECRET|PASSWORD|TOKEN|AUTH/.test(key)) expect(value, key).toMatch(/^\$\{\w+:\?[^}]+\}$/)
  })

  it('waits for what is waited for to be healthy, and knows when that is', () => {
    for (const [name, { build, healthcheck, depends_on = {} }] of services) {
      expect(build !== undefined || healthcheck !== undefined, `${name} has a health check, or its image has`).toBe(true)
      for (const [other, { condition }] of Object.entries(depends_on)) {
        expect(compose.services).toHaveProperty(other)
        expect(condition).toBe('service_healthy')
      }
    }
  })

  it('keeps Redis such that an acknowledgement means on disk', () => {
    const command = compose.services['redis']?.command
    for (const option of ['--appendonly yes', '--appendfsync always', '--maxmemory-policy noeviction', '--requirepass $'])
      expect(command).toContain(option)
    expect(compose.services['redis']?.volumes).toEqual(['redis:/data'])
  })

  it('mounts volumes and files that there are', () => {
    for (const [, { volumes = [] }] of services)
      for (const mount of volumes) {
        const [from = ''] = mount.split(':')
        if (from.startsWith('.')) expect(text(from)).not.toBe('')
        else expect(compose.volumes).toHaveProperty(from)
      }
  })

  it('opens ports on the proxy only, and on this machine only unless told', () => {
    expect(services.filter(([, { ports }]) => ports !== undefined).map(([name]) => name)).toEqual(['proxy'])
    for (const port of compose.services['proxy']?.ports ?? []) expect(filled(port)).toMatch(/^127\.0\.0\.1:/)
  })
})

describe('the image', () => {
  const stages = text('Dockerfile').split(/^FROM /m)
  const last = stages.at(-1) ?? ''

  it('is built on pinned images, runs as another user than root and says whether it is healthy', () => {
    for (const stage of stages.slice(1)) expect(stage).toMatch(/^node:\d+\.\d+\.\d+-/)
    expect(last).toMatch(/^USER node$/m)
    expect(last).toMatch(/^HEALTHCHECK [\s\S]*\/readyz/m)
  })

  it('starts the server itself, so that signals reach it, and as `npm start` does', () => {
    const { scripts } = JSON.parse(text('package.json')) as { scripts: { start: string } }
    const entry = JSON.parse(/^ENTRYPOINT (.*)$/m.exec(last)?.[1] ?? '[]') as string[]
    expect(entry.join(' ')).toBe(scripts.start.replace('exec ', ''))
    expect(last).not.toMatch(/^CMD/m)
  })

  it('installs what the lockfile says, and leaves out what only development needs', () => {
    expect(stages[1]).toMatch(/npm ci /)
    expect(stages[1]).toMatch(/npm prune --omit=dev/)
  })
})

describe('the proxy', () => {
  const conf = text('deploy/nginx.conf')
  const locations = [...conf.matchAll(/location (=|~)? ?(\S+) \{([^}]*)\}/g)].map(([, kind, path = '', body = '']) => ({
    kind,
    path,
    body,
  }))

  /** As nginx chooses: exact, then the first expression that matches, then the prefix. */
  function locationOf(path: string): string {
    const exact = locations.find(one => one.kind === '=' && one.path === path)
    const found = exact ?? locations.find(one => one.kind === '~' && new RegExp(one.path).test(path))
    return (found ?? locations.find(one => one.kind === undefined && path.startsWith(one.path)))?.body ?? ''
  }

  it.each([
    ['/v2/projects/p/events', 'gateway'],
    ['/v2/projects/p/devices/d 1:publish', 'gateway'],
    ['/emulator/v2/projects/p/devices/d:publish', 'gateway'],
    ['/emulator/v2/projects/p/devices', 'console'],
    ['/v2/projects/p/devices:stream', 'stream'],
    ['/v2/projects/p/devices/d:stream', 'stream'],
    ['/v2/projects/p/alarms:stream', 'stream'],
    ['/v2/projects/p/status:stream', 'console'],
    ['/v2/projects/p/devices/d/events', 'console'],
    ['/v2/projects/p/devices:batchUpdate', 'console'],
    ['/v2/projects/p/alarms/a:acknowledge', 'console'],
    ['/streammanager/api/2.0/event/list', 'stream'],
    ['/console/session', 'console'],
    ['/_fabric/_system/_api/streams', 'stream'],
    ['/_ws/ws/v2/producer/persistent/default/c8global._system/c8globals.a', 'stream'],
    ['/apid/otp', 'stream'],
    ['/', 'console'],
  ])('sends %s to the %s', (path, role) => {
    expect(/proxy_pass http:\/\/\$(\w+);/.exec(locationOf(path))?.[1]).toBe(role)
    expect(conf).toContain(`set $${role} ${role}:8080;`)
    expect(locationOf(path).includes('proxy_buffering off')).toBe(path.endsWith(':stream'))
  })

  it('lets streams be WebSockets', () => {
    for (const path of ['/v2/projects/p/devices:stream', '/_ws/ws/v2/reader/x']) {
      expect(locationOf(path)).toContain('proxy_set_header Upgrade $http_upgrade;')
      expect(locationOf(path)).toContain('proxy_set_header Connection $upgrading;')
    }
  })

  it('keeps metrics to itself', () => expect(locationOf('/metrics')).toContain('return 404'))
})
