// Every setting, with its default and meaning. Read once; all mistakes are reported together.
import { LABEL_MATCHES, type LabelMatch } from '../packages/core/device.ts'
import { Failure } from '../packages/core/failure.ts'
import { type Allowed, parseAllowed } from '../packages/outbound/outbound.ts'
import { parseRedisUrl } from '../packages/redis/index.ts'
import type { Rate } from '../packages/runtime/http.ts'
import { contradictions, exposures } from './contradiction.ts'
import {
  address,
  bytes,
  duration,
  expected,
  nearest,
  networks,
  oneOf,
  optional,
  pattern,
  port,
  projectName,
  publicUrl,
  quarantine,
  rate,
  truth,
  wait,
  whole,
} from './setting.ts'

export const ROLES = ['gateway', 'worker', 'stream', 'console'] as const
export type Role = (typeof ROLES)[number]

export type Config = {
  readonly roles: ReadonlySet<Role>
  readonly host: string
  readonly httpPort: number
  readonly mqttPort: number
  readonly mqttMaxPacketBytes: number
  /** 0: no limit. */
  readonly mqttConnectionsPerAddress: number
  /** Undefined: no HTTPS. */
  readonly httpsPort: number | undefined
  /** Undefined: no MQTT over TLS. */
  readonly mqttsPort: number | undefined
  /** Names of PEM files; without `ca` clients have no certificates. */
  readonly tls: { readonly cert: string; readonly key: string; readonly ca: string }
  readonly dataDir: string
  readonly redisUrl: string | undefined
  readonly redisBinary: string | undefined
  readonly redisMaxBytes: number
  readonly influx: Influx | undefined
  readonly admin: { readonly keyId: string | undefined; readonly secret: string | undefined; readonly email: string }
  readonly secretKey: string | undefined
  /** As people outside call this installation, without a slash at the end. */
  readonly publicUrl: string | undefined
  readonly trustedProxies: readonly string[]
  readonly requestTimeoutMs: number
  /** That assertions may be made for, besides the addresses of this installation itself. */
  readonly tokenAudiences: readonly string[]
  readonly project: string
  /** As others reach this process: host, or host and port; undefined: by the public URL or the address it is bound to. */
  readonly advertise: string | undefined
  readonly region: string
  /** Connections that this process is meant for. */
  readonly capacity: number
  /** Whose live streams the Red5 directory shows without a key; undefined: there is no directory. */
  readonly red5: Red5 | undefined
  readonly allowPrivate: Allowed
  readonly connectorTimeoutMs: number
  readonly connectorGiveUpMs: number
  readonly partitions: number
  readonly latenessMs: number
  readonly retentionMs: number
  readonly logRetentionMs: number
  /** Of what happened to alarms. */
  readonly alarmHistoryMs: number
  readonly logMaxBytes: number
  readonly quarantine: { readonly maxBytes: number; readonly retentionMs: number }
  readonly streamMaxAgeMs: number
  readonly streamPatienceMs: number
  readonly streamLimit: number
  /** What several of them mean to who does not say it. */
  readonly labelFilters: LabelMatch
  readonly createStations: boolean
  readonly strictDialects: boolean
  /** Requests of one key. */
  readonly limits: { readonly manage: Rate | undefined; readonly ingest: Rate | undefined }
  readonly fsync: 'always' | 'everysec'
  readonly logLevel: string
}

/** `first`: the project of the first start. */
export type Red5 = { readonly open: 'all' | 'first' | readonly string[] }

export type Influx = {
  readonly url: string
  readonly token: string | undefined
  readonly org: string | undefined
  readonly bucket: string | undefined
  readonly database: string | undefined
  readonly username: string | undefined
  readonly password: string | undefined
}

type Setting = { readonly name: string; readonly fallback: string; readonly meaning: string }

/** The settings of design.md §4 that this version knows, as `telltale` documents them. */
export const SETTINGS: readonly Setting[] = [
  { name: 'TELLTALE_HOST', fallback: '127.0.0.1', meaning: 'address to bind' },
  { name: 'TELLTALE_HTTP_PORT', fallback: '8080', meaning: 'API, streams, console, and MQTT over WebSocket at /mqtt; 0 takes a free one' },
  { name: 'TELLTALE_MQTT_PORT', fallback: '1883', meaning: 'MQTT; 0 takes a free one' },
  { name: 'TELLTALE_MQTT_MAX_PACKET', fallback: '1mb', meaning: 'an MQTT packet that is larger ends its connection' },
  {
    name: 'TELLTALE_MQTT_CONNECTIONS_PER_ADDRESS',
    fallback: '10000',
    meaning: 'MQTT connections of one IPv4 address or IPv6 /64; 0: no limit, for a proxy in front that all come by',
  },
  {
    name: 'TELLTALE_HTTPS_PORT',
    fallback: '',
    meaning: 'the same as over HTTP, by TLS with HTTP/1.1 and HTTP/2; empty: off, 0 takes a free one',
  },
  { name: 'TELLTALE_MQTTS_PORT', fallback: '', meaning: 'the same as over MQTT, by TLS, such as 8883; empty: off, 0 takes a free one' },
  { name: 'TELLTALE_TLS_CERT', fallback: '', meaning: 'file with the certificate chain in PEM; read again when it changes' },
  { name: 'TELLTALE_TLS_KEY', fallback: '', meaning: 'file with its private key in PEM, without passphrase' },
  {
    name: 'TELLTALE_TLS_CA',
    fallback: '',
    meaning: 'file with the certificates, in PEM, of those who sign the certificates of devices, and their revocation lists; empty: none',
  },
  { name: 'TELLTALE_DATA_DIR', fallback: './data', meaning: 'embedded Redis, DuckDB, secrets' },
  {
    name: 'TELLTALE_REDIS_URL',
    fallback: '',
    meaning: 'redis:// or rediss://, several addresses separated by commas for a Cluster; empty: embedded',
  },
  { name: 'TELLTALE_REDIS_BINARY', fallback: '', meaning: 'redis-server to run embedded; empty: looked for, or fetched' },
  { name: 'TELLTALE_REDIS_MAX_MEMORY', fallback: '1gb', meaning: 'memory of the embedded Redis; near it producers are told to wait' },
  { name: 'TELLTALE_INFLUX_URL', fallback: '', meaning: 'InfluxDB 1, 2 or 3; empty: DuckDB in the data directory' },
  { name: 'TELLTALE_INFLUX_TOKEN', fallback: '', meaning: 'token of InfluxDB 2 and 3' },
  { name: 'TELLTALE_INFLUX_ORG', fallback: '', meaning: 'organisation of InfluxDB 2' },
  { name: 'TELLTALE_INFLUX_BUCKET', fallback: '', meaning: 'bucket of InfluxDB 2 and 3' },
  { name: 'TELLTALE_INFLUX_DATABASE', fallback: '', meaning: 'database of InfluxDB 1, made if missing' },
  { name: 'TELLTALE_INFLUX_USERNAME', fallback: '', meaning: 'user of InfluxDB 1' },
  { name: 'TELLTALE_INFLUX_PASSWORD', fallback: '', meaning: 'password of InfluxDB 1' },
  { name: 'TELLTALE_ADMIN_KEY_ID', fallback: '', meaning: 'id of the first key; empty: made at first start' },
  { name: 'TELLTALE_ADMIN_SECRET', fallback: '', meaning: 'its secret, 16 characters or more; empty: made and printed at first start' },
  { name: 'TELLTALE_ADMIN_EMAIL', fallback: 'admin@localhost', meaning: 'its service account' },
  {
    name: 'TELLTALE_SECRET_KEY',
    fallback: '',
    meaning: 'seals secrets at rest, 32 characters or more; empty: made in the data directory (embedded only)',
  },
  {
    name: 'TELLTALE_PUBLIC_URL',
    fallback: '',
    meaning:
      'as clients call this installation, such as https://telltale.example.com; empty: assertions for access tokens may name loopback and the address that took them, and no other',
  },
  {
    name: 'TELLTALE_TRUSTED_PROXIES',
    fallback: '',
    meaning: 'addresses or networks, separated by commas, whose X-Forwarded-For and X-Forwarded-Proto are believed; empty: nobody’s',
  },
  { name: 'TELLTALE_REQUEST_TIMEOUT', fallback: '28s', meaning: 'an HTTP request that takes longer to come is cut off' },
  {
    name: 'TELLTALE_TOKEN_AUDIENCES',
    fallback: 'https://identity.disruptive-technologies.com/oauth2/token',
    meaning: '`aud` of assertions for access tokens besides /oauth2/token of TELLTALE_PUBLIC_URL, separated by commas',
  },
  { name: 'TELLTALE_PROJECT', fallback: 'default', meaning: 'project made at first start' },
  { name: 'TELLTALE_REGION', fallback: 'local', meaning: 'where this process runs, such as eu-north-1; clients are sent to the nearest' },
  {
    name: 'TELLTALE_ADVERTISE',
    fallback: '',
    meaning: 'host, or host:port, that clients are sent to for this process; empty: the host of TELLTALE_PUBLIC_URL, or the bound address',
  },
  {
    name: 'TELLTALE_CAPACITY',
    fallback: '10000',
    meaning: 'connections that this process is meant for; clients are sent to those with room',
  },
  {
    name: 'TELLTALE_RED5',
    fallback: '',
    meaning:
      'whose live streams /streammanager shows without a key: projects separated by commas, open (all) or key (none); off: no directory; empty: TELLTALE_PROJECT',
  },
  { name: 'TELLTALE_WEBHOOK_ALLOW_PRIVATE', fallback: 'false', meaning: 'true, or networks that calls may reach besides the public ones' },
  { name: 'TELLTALE_CONNECTOR_TIMEOUT', fallback: '10s', meaning: 'how long a data connector waits for its receiver’s answer' },
  {
    name: 'TELLTALE_CONNECTOR_GIVE_UP',
    fallback: '5d',
    meaning: 'a data connector is disabled when nothing has succeeded for this long, and an event that alone is refused is dropped',
  },
  { name: 'TELLTALE_PARTITIONS', fallback: '4', meaning: 'drain queues per consumer; fixed at first start' },
  {
    name: 'TELLTALE_LATENESS',
    fallback: '2m',
    meaning: 'how much older than the newest of its device and type an event may be and still be put in order by the rules',
  },
  { name: 'TELLTALE_RETENTION', fallback: '0s', meaning: 'how long readings are kept, such as 90d; 0s: for ever' },
  {
    name: 'TELLTALE_ALARM_HISTORY',
    fallback: '400d',
    meaning:
      'how long it is kept what happened to alarms: changes, acknowledgements, silences; 0s: for ever, at most 200,000 records of a project',
  },
  { name: 'TELLTALE_LOG_RETENTION', fallback: '24h', meaning: 'how long the log is kept for readers that resume' },
  { name: 'TELLTALE_LOG_MAX_SIZE', fallback: '256mb', meaning: 'memory of one project’s log, beyond which its consumed part is trimmed' },
  { name: 'TELLTALE_QUARANTINE_MAX_SIZE', fallback: '64mb', meaning: 'memory of one project’s refused input; the oldest goes' },
  { name: 'TELLTALE_QUARANTINE_RETENTION', fallback: '30d', meaning: 'how long refused input is kept; 0s: until there is no room' },
  { name: 'TELLTALE_STREAM_MAX_AGE', fallback: '1h', meaning: 'streams end after this and are resumed by their clients; 0s: never' },
  { name: 'TELLTALE_STREAM_PATIENCE', fallback: '10s', meaning: 'a stream is cut off when its reader takes nothing for this long' },
  { name: 'TELLTALE_STREAM_LIMIT', fallback: '5000', meaning: 'open streams of one key in one process' },
  { name: 'TELLTALE_LABEL_FILTERS', fallback: 'all', meaning: 'all: several label filters must all hold; any: one of them is enough' },
  {
    name: 'TELLTALE_CREATE_STATIONS',
    fallback: 'true',
    meaning: 'a station that a client of Memphis names is made when it is missing; false: it has to be made before',
  },
  {
    name: 'TELLTALE_STRICT_DIALECTS',
    fallback: 'false',
    meaning: 'true: of clients of Memphis (415) and eventserver (400) only content types are taken that those systems document',
  },
  {
    name: 'TELLTALE_RATE_LIMIT',
    fallback: '25/5s',
    meaning: 'management requests of one key, opening a stream included; off: no limit, nor one on guessing secrets',
  },
  {
    name: 'TELLTALE_INGEST_RATE_LIMIT',
    fallback: '100000/5s',
    meaning: 'requests of one key that bring events, put devices, or produce and consume as other systems’ clients do; off: no limit',
  },
  {
    name: 'TELLTALE_FSYNC',
    fallback: 'always',
    meaning: 'always: an acknowledgement means on disk; everysec: up to a second may be lost with the machine',
  },
  { name: 'TELLTALE_LOG_LEVEL', fallback: 'info', meaning: 'trace, debug, info, warn, error, fatal or silent' },
]

const ALL_NAMES: ReadonlySet<string> = new Set(SETTINGS.map(({ name }) => name))
/** Read by the command line client, not by the server. */
const CLIENT_NAMES: ReadonlySet<string> = new Set(['TELLTALE_KEY_ID', 'TELLTALE_SECRET', 'TELLTALE_HTTP_URL', 'TELLTALE_MQTT_URL'])

export function usage(): string {
  const width = Math.max(...SETTINGS.map(({ name }) => name.length))
  const row = ({ name, fallback, meaning }: Setting) => `  ${name.padEnd(width)}  ${meaning}${fallback === '' ? '' : ` [${fallback}]`}`
  return `Usage: npm start -- [${ROLES.join('] [')}]

Starts these roles in one process; all of them when none is named.

Settings, from the environment [and what holds without them]:
${SETTINGS.map(row).join('\n')}
`
}

/** @throws one Failure `setup` whose message names every setting that is wrong and what was expected. */
export function parseConfig(env: Readonly<Record<string, string | undefined>>, args: readonly string[]): Config {
  const problems: string[] = []
  const read = <T>(name: string, parse: (text: string) => T): T => {
    const fallback = SETTINGS.find(setting => setting.name === name)?.fallback ?? ''
    try {
      return parse(env[name]?.trim() || fallback)
    } catch (error) {
      if (!(error instanceof Failure)) throw error
      problems.push(error.message.startsWith(name) ? error.message : `${name}: ${error.message}`)
      return parse(fallback)
    }
  }
  for (const name of Object.keys(env))
    if (name.startsWith('TELLTALE_') && !ALL_NAMES.has(name) && !CLIENT_NAMES.has(name))
      problems.push(`${name}: unknown setting${nearest(name, ALL_NAMES)}`)
  const config = build(read, rolesOf(args, problems))
  problems.push(...contradictions(config, ROLES))
  if (env['NODE_ENV'] === 'production') problems.push(...exposures(config))
  if (problems.length > 0) throw new Failure('setup', problems.join('\n'))
  return Object.freeze(config)
}

type Read = <T>(name: string, parse: (text: string) => T) => T

function build(read: Read, roles: ReadonlySet<Role>): Config {
  return {
    roles,
    host: read('TELLTALE_HOST', text => text),
    httpPort: read('TELLTALE_HTTP_PORT', port),
    mqttPort: read('TELLTALE_MQTT_PORT', port),
    mqttMaxPacketBytes: read('TELLTALE_MQTT_MAX_PACKET', bytes),
    mqttConnectionsPerAddress: read('TELLTALE_MQTT_CONNECTIONS_PER_ADDRESS', text => whole(text, 0, 10_000_000)),
    httpsPort: read('TELLTALE_HTTPS_PORT', optionalPort),
    mqttsPort: read('TELLTALE_MQTTS_PORT', optionalPort),
    tls: {
      cert: read('TELLTALE_TLS_CERT', text => text),
      key: read('TELLTALE_TLS_KEY', text => text),
      ca: read('TELLTALE_TLS_CA', text => text),
    },
    dataDir: read('TELLTALE_DATA_DIR', text => text),
    redisUrl: read('TELLTALE_REDIS_URL', redisUrl),
    redisBinary: read('TELLTALE_REDIS_BINARY', optional),
    redisMaxBytes: read('TELLTALE_REDIS_MAX_MEMORY', bytes),
    influx: influx(read),
    admin: {
      keyId: read('TELLTALE_ADMIN_KEY_ID', text => pattern(text, /^[A-Za-z0-9_-]{0,64}$/, 'at most 64 of A-Z a-z 0-9 _ -') || undefined),
      secret: read('TELLTALE_ADMIN_SECRET', text => pattern(text, /^(.{16,256})?$/, 'at least 16 characters') || undefined),
      email: read('TELLTALE_ADMIN_EMAIL', text => pattern(text, /^\S+@\S+$/, 'an e-mail address')),
    },
    secretKey: read('TELLTALE_SECRET_KEY', text => pattern(text, /^(.{32,256})?$/, 'at least 32 characters') || undefined),
    publicUrl: read('TELLTALE_PUBLIC_URL', publicUrl),
    trustedProxies: read('TELLTALE_TRUSTED_PROXIES', networks),
    requestTimeoutMs: read('TELLTALE_REQUEST_TIMEOUT', wait),
    tokenAudiences: read('TELLTALE_TOKEN_AUDIENCES', text => text.split(',').map(one => one.trim())),
    project: read('TELLTALE_PROJECT', projectName),
    advertise: read('TELLTALE_ADVERTISE', address),
    region: read('TELLTALE_REGION', text =>
      pattern(text, REGION, '1 to 63 of A-Z a-z 0-9 _ . - that start with a letter or digit, such as eu-north-1'),
    ),
    capacity: read('TELLTALE_CAPACITY', text => whole(text, 1, 10_000_000)),
    red5: read('TELLTALE_RED5', red5),
    allowPrivate: read('TELLTALE_WEBHOOK_ALLOW_PRIVATE', parseAllowed),
    connectorTimeoutMs: read('TELLTALE_CONNECTOR_TIMEOUT', duration),
    connectorGiveUpMs: read('TELLTALE_CONNECTOR_GIVE_UP', duration),
    partitions: read('TELLTALE_PARTITIONS', text => whole(text, 1, 64)),
    latenessMs: read('TELLTALE_LATENESS', duration),
    retentionMs: read('TELLTALE_RETENTION', duration),
    logRetentionMs: read('TELLTALE_LOG_RETENTION', duration),
    alarmHistoryMs: read('TELLTALE_ALARM_HISTORY', duration),
    logMaxBytes: read('TELLTALE_LOG_MAX_SIZE', bytes),
    quarantine: quarantine(read),
    streamMaxAgeMs: read('TELLTALE_STREAM_MAX_AGE', duration),
    streamPatienceMs: read('TELLTALE_STREAM_PATIENCE', wait),
    streamLimit: read('TELLTALE_STREAM_LIMIT', text => whole(text, 1, 1_000_000)),
    labelFilters: read('TELLTALE_LABEL_FILTERS', text => oneOf(text, LABEL_MATCHES)),
    createStations: read('TELLTALE_CREATE_STATIONS', truth),
    strictDialects: read('TELLTALE_STRICT_DIALECTS', truth),
    limits: { manage: read('TELLTALE_RATE_LIMIT', rate), ingest: read('TELLTALE_INGEST_RATE_LIMIT', rate) },
    fsync: read('TELLTALE_FSYNC', text => oneOf(text, ['always', 'everysec'] as const)),
    logLevel: read('TELLTALE_LOG_LEVEL', text => oneOf(text, ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const)),
  }
}

function optionalPort(text: string): number | undefined {
  return text === '' ? undefined : port(text)
}

const REGION = /^[A-Za-z0-9][\w.-]{0,62}$/

function red5(text: string): Red5 | undefined {
  if (text === 'off') return undefined
  if (text === '') return { open: 'first' }
  if (text === 'open') return { open: 'all' }
  return { open: text === 'key' ? [] : text.split(',').map(one => projectName(one.trim())) }
}

function redisUrl(text: string): string | undefined {
  if (text === '') return undefined
  parseRedisUrl(text)
  return text
}

function influx(read: Read): Influx | undefined {
  const url = read('TELLTALE_INFLUX_URL', text => {
    if (text !== '' && !/^https?:\/\//.test(text)) throw expected('a URL such as http://127.0.0.1:8086', text)
    return text
  })
  if (url === '') return undefined
  return {
    url,
    token: read('TELLTALE_INFLUX_TOKEN', optional),
    org: read('TELLTALE_INFLUX_ORG', optional),
    bucket: read('TELLTALE_INFLUX_BUCKET', optional),
    database: read('TELLTALE_INFLUX_DATABASE', optional),
    username: read('TELLTALE_INFLUX_USERNAME', optional),
    password: read('TELLTALE_INFLUX_PASSWORD', optional),
  }
}

function rolesOf(args: readonly string[], problems: string[]): ReadonlySet<Role> {
  const known: readonly string[] = ROLES
  for (const arg of args) if (!known.includes(arg)) problems.push(`role ${arg}: expected some of ${ROLES.join(', ')}, or none for all`)
  const named = ROLES.filter(role => args.includes(role))
  return new Set(named.length > 0 ? named : ROLES)
}
