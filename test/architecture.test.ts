// Who may import whom (the five rules of the house style), read from the import lines; and what every file looks like.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

type Source = { readonly path: string; readonly text: string; readonly imports: readonly Import[] }
/** `to` is a path from the root for our own files, else the name of a package. */
type Import = { readonly to: string; readonly typeOnly: boolean }

const root = fileURLToPath(new URL('..', import.meta.url))
const IMPORT = /^(import|export)(\s+type)?\s*(?:[^'";]*?\bfrom\s*)?'([^']+)'|\bimport\('([^']+)'\)/gm

const all = ['packages', 'services', 'test', 'bench']
  .filter(folder => existsSync(join(root, folder)))
  .flatMap(folder => filesIn(folder))
  .map(read)
/** What runs; tests and what they share may open anything. */
const shipped = all.filter(
  ({ path }) => /^(packages|services)\//.test(path) && !/(\.test|fixture|contract|store\/influxd)\.tsx?$/.test(path),
)
/** The page is a program of its own, for browsers. */
const server = shipped.filter(({ path }) => !path.startsWith('services/console/web/'))

function filesIn(folder: string): string[] {
  const found = readdirSync(join(root, folder), { recursive: true, encoding: 'utf8', withFileTypes: true })
  return found
    .filter(entry => entry.isFile() && /\.tsx?$/.test(entry.name))
    .map(entry => normalize(join(entry.parentPath, entry.name)).slice(root.length))
    .filter(path => !/(^|\/)(node_modules|dist)\//.test(path))
}

function read(path: string): Source {
  const text = readFileSync(join(root, path), 'utf8')
  const imports = [...text.matchAll(IMPORT)].map(([, , type, from, dynamic]) => ({
    to: resolve(path, (from ?? dynamic) as string),
    typeOnly: type !== undefined,
  }))
  return { path, text, imports }
}

function resolve(from: string, to: string): string {
  if (to.startsWith('.')) return normalize(join(dirname(from), to))
  return to.startsWith('node:') ? to : to.split('/', to.startsWith('@') ? 2 : 1).join('/')
}

/** `packages/log/entry.ts` → `packages/log`; undefined for what is not in a folder of packages or services. */
function partOf(path: string): string | undefined {
  return /^(packages|services)\/[^/]+(?=\/)/.exec(path)?.[0]
}

function imports(files: readonly Source[], isWrong: (from: Source, to: Import) => boolean): string[] {
  return files.flatMap(from => from.imports.filter(to => isWrong(from, to)).map(({ to }) => `${from.path} imports ${to}`))
}

/** What a package may stand on besides core. Arrows point one way, from what people meet to what they never see. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  core: [],
  redis: [],
  store: [],
  identity: ['state'],
  outbound: [],
  log: [],
  state: ['log'],
  runtime: ['identity', 'redis'],
  queue: ['runtime'],
  client: [],
  cli: ['client'],
}

/** Packages with insides: what others may import. A package that is not here has none. */
const DOORS: Readonly<Record<string, RegExp>> = {
  redis: /^index\.ts$/,
  store: /^(store|duckdb|influx)\.ts$/,
  client: /^(index|pace)\.ts$/,
  cli: /^$/,
}

/** Third-party libraries stand where they can be exchanged. */
const LIBRARIES: Readonly<Record<string, RegExp>> = {
  aedes: /^services\/gateway\/(mqtt\/(mqtt|connect|door|live|login|short|subscribing|turn|will)|broker\/(forward|say))\.ts$/,
  'quickjs-emscripten-core': /^services\/gateway\/decode\/sandbox[a-z]*\.ts$/,
  '@jitl/quickjs-wasmfile-release-sync': /^services\/gateway\/decode\/sandbox[a-z]*\.ts$/,
  fzstd: /^services\/gateway\/http\/zstd\.ts$/,
  ws: /^packages\/runtime\/upgrade\.ts$/,
  bullmq: /^packages\/queue\/queue\.ts$/,
  '@duckdb/node-api': /^packages\/store\/duck\w+\.ts$/,
  '@influxdata/influxdb-client': /^packages\/store\/influx\w*\.ts$/,
  undici: /^packages\/outbound\//,
  'ipaddr.js': /^packages\/outbound\//,
  jose: /^packages\/identity\//,
  standardwebhooks: /^services\/worker\/notify\/webhook\.ts$/,
  'prom-client': /^packages\/runtime\/(metric|operation)\.ts$/,
  pino: /^packages\/runtime\/logger\.ts$/,
  fastify: /^packages\/runtime\/http\.ts$/,
  '@fastify/cors': /^packages\/runtime\/http\.ts$/,
  '@fastify/rate-limit': /^packages\/runtime\/(http|caller)\.ts$/,
  '@fastify/swagger': /^packages\/runtime\/openapi\.ts$/,
  '@fastify/swagger-ui': /^packages\/runtime\/openapi\.ts$/,
  '@fastify/cookie': /^packages\/runtime\/http\.ts$/,
  '@fastify/helmet': /^packages\/runtime\/http\.ts$/,
  '@fastify/type-provider-typebox': /^packages\/runtime\/http\.ts$/,
  '@fastify/static': /^services\/console\/console\.ts$/,
  'fastify-sse-v2': /^services\/console\/status\.ts$/,
  typebox: /^packages\/runtime\/(schema|http|operation)\.ts$|^services\/(console|gateway|stream)\//,
  ioredis: /^packages\/redis\//,
  ajv: /^packages\/log\/durable\/jsonschema\.ts$/,
  '@marcbachmann/cel-js': /^packages\/core\/condition\/cel(meter)?\.ts$/,
  re2js: /^packages\/core\/condition\/cel(meter)?\.ts$/,
  luxon: /^packages\/core\/schedule\.ts$/,
  yaml: /^packages\/core\/document\.ts$/,
  protobufjs: /^packages\/log\/durable\/protobuf\.ts$|^services\/gateway\/decode\/(protobuf|sparkplug)[a-z]*\.ts$/,
  mqtt: /^packages\/cli\/transport\/mqtt\.ts$/,
  commander: /^packages\/cli\//,
  'cli-progress': /^packages\/cli\/progress\.ts$/,
  'csv-parse': /^packages\/cli\/csv\//,
  picocolors: /^packages\/cli\/terminal\.ts$/,
}
/** No clock, no dice, no input or output: what they give depends on what they are given (docs/decisions/0020). */
const PURE: ReadonlySet<string> = new Set(['@marcbachmann/cel-js', 're2js', 'luxon', 'yaml'])
/** Their types say what is handed in: routes get requests, everything on Redis gets a connection. */
const TYPES_ANYWHERE: ReadonlySet<string> = new Set(['fastify', 'ioredis'])

/** Where a process or a thread of it starts and ends. */
const MAINS: ReadonlySet<string> = new Set(['services/main.ts', 'services/thread.ts', 'packages/cli/main.ts'])

/** The counter of xids, by their definition, and the database files that this process holds open: no file may be opened twice. */
const ONE_PER_PROCESS: ReadonlySet<string> = new Set(['packages/runtime/id.ts', 'packages/store/duckdb.ts'])

describe('imports', () => {
  it('are found', () => {
    expect(read('services/gateway/mqtt/mqtt.ts').imports.map(({ to }) => to)).toEqual(
      expect.arrayContaining(['aedes', 'packages/identity/identity.ts', 'services/gateway/mqtt/topic.ts']),
    )
    expect(shipped.length).toBeGreaterThan(80)
  })

  it('core imports nothing but core, and libraries that are as pure as it is', () => {
    const core = server.filter(({ path }) => path.startsWith('packages/core/'))
    expect(imports(core, (_, { to }) => !to.startsWith('packages/core/') && !PURE.has(to))).toEqual([])
  })

  it('core asks no clock and no dice', () => {
    const core = server.filter(({ path }) => path.startsWith('packages/core/'))
    expect(
      core.filter(({ text }) => /Date\.now|new Date\(\)|performance\.|Math\.random|crypto/.test(text)).map(({ path }) => path),
    ).toEqual([])
  })

  it('a package imports core and the few packages it stands on', () => {
    const packages = server.filter(({ path }) => path.startsWith('packages/'))
    const wrong = imports(packages, ({ path }, { to }) => {
      const from = partOf(path) as string
      if (to.startsWith('node:') || !/^(packages|services|test|bench)\//.test(to) || partOf(to) === from) return false
      const allowed = ['core', ...(MAY_IMPORT[from.slice('packages/'.length)] ?? [])]
      return !allowed.some(name => to.startsWith(`packages/${name}/`))
    })
    expect(wrong).toEqual([])
  })

  it('nobody reaches past the door of a package', () => {
    const wrong = imports(server, ({ path }, { to }) => {
      const [, name, file] = /^packages\/([^/]+)\/(.+)$/.exec(to) ?? []
      if (name === undefined || file === undefined || partOf(path) === `packages/${name}`) return false
      return DOORS[name] !== undefined && !DOORS[name].test(file)
    })
    expect(wrong).toEqual([])
  })

  it('a service never imports another service', () => {
    const services = server.filter(({ path }) => partOf(path)?.startsWith('services/'))
    expect(imports(services, ({ path }, { to }) => to.startsWith('services/') && partOf(to) !== partOf(path))).toEqual([])
  })

  it('only the wiring chooses adapters', () => {
    const adapters = /^packages\/(store\/(duckdb|influx)|redis\/index)\.ts$/
    // Understanding a failure of Redis is no choice of an adapter.
    const onlyTranslates = ({ text }: Source) =>
      !/\b(openRedis|connectRedis|startRedis|findRedis|openDuckStore|openInfluxStore)\b/.test(text)
    const others = server.filter(file => !/^packages\/(store|redis)\/|^services\/(app|part)\.ts$/.test(file.path) && !onlyTranslates(file))
    expect(imports(others, (_, { to }) => adapters.test(to))).toEqual([])
  })

  it('a library is named in few files', () => {
    const wrong = imports(server, ({ path }, { to, typeOnly }) => {
      if (to.startsWith('node:') || /^(packages|services)\//.test(to)) return false
      if (typeOnly && TYPES_ANYWHERE.has(to)) return false
      return LIBRARIES[to] === undefined || !LIBRARIES[to].test(path)
    })
    expect(wrong).toEqual([])
  })

  it('nothing that ships imports a test', () => {
    expect(imports(shipped, (_, { to }) => /^(test|bench)\/|(\.test|fixture)\.ts$/.test(to))).toEqual([])
  })
})

describe('a file', () => {
  const where = (files: readonly Source[], pattern: RegExp) =>
    files.flatMap(({ path, text }) =>
      text.split('\n').flatMap((line, i) => (pattern.test(line) ? [`${path}:${i + 1} ${line.trim()}`] : [])),
    )

  it('reads settings and hears signals only where a process starts', () => {
    const others = server.filter(({ path }) => !MAINS.has(path))
    expect(where(others, /\bprocess\.(env|on|once|exit|argv)\b/)).toEqual([])
  })

  it('keeps no state of the module', () => {
    const others = shipped.filter(({ path }) => !ONE_PER_PROCESS.has(path))
    expect(where(others, /^(export )?(let|var) /)).toEqual([])
    expect(where(others, /^(export )?const \w+ = (new (Map|Set|WeakMap|WeakSet)\b|\[\]|\{\}$)/)).toEqual([])
  })

  it('is at most 400 lines long, of tests 600', () => {
    const limit = (path: string) => (path.includes('.test.') ? 600 : 400)
    expect(all.filter(({ path, text }) => text.split('\n').length > limit(path) + 1).map(({ path }) => path)).toEqual([])
  })

  it('begins by saying what it holds', () => {
    expect(all.filter(({ text }) => !/^(\/\/ \S|\/\*\*? \S)/.test(text)).map(({ path }) => path)).toEqual([])
  })

  it('swallows no error', () => {
    expect(where(all, new RegExp(`catch \\{\\}|\\.catch\\(\\(\\) => (\\{\\}|undefined)\\)|// TO${'DO'}`))).toEqual([])
  })
})
