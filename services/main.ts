// Where the process starts: settings in, roles started, signals heard, one clear line when it cannot be.
import { Failure } from '../packages/core/failure.ts'
import type { App } from './app.ts'
import type { Config } from './config.ts'

/** Ctrl-C reaches this process twice, from the terminal and through npm; a third time means it. */
const IMPATIENT_SIGNALS = 3
const EXIT_MS = 15_000

async function main(): Promise<void> {
  const stopped = hearSignals()
  // Loaded only now: it takes a second, in which Ctrl-C has to be heard.
  const { parseConfig, usage } = await import('./config.ts')
  const args = process.argv.slice(2)
  if (args.includes('--help') || args.includes('-h')) {
    process.stdout.write(usage())
    return
  }
  const config = parseConfig(process.env, args)
  const { openLogger } = await import('../packages/runtime/logger.ts')
  const { startApp } = await import('./app.ts')
  const app = await startApp(config, openLogger(config.logLevel), text => process.stdout.write(`${text}\n`))
  hearReload(config, app)
  process.stdout.write(welcome(config, app))
  await stopped
  await app.stop()
  process.exit(0)
}

/** Resolves with the first signal, also when that comes before anything is there to be stopped. */
function hearSignals(): Promise<void> {
  return new Promise(resolve => {
    let signals = 0
    const stop = () => {
      if (++signals >= IMPATIENT_SIGNALS) process.exit(130)
      if (signals > 1) return
      setTimeout(() => process.exit(1), EXIT_MS).unref()
      resolve()
    }
    process.on('SIGINT', stop)
    process.on('SIGTERM', stop)
  })
}

/** A terminal that is closed says the same, and then it means the end. */
function hearReload({ tls }: Config, app: App): void {
  if (tls.cert !== '' && !process.stdout.isTTY) process.on('SIGHUP', () => app.reload())
}

function explain(error: unknown): never {
  if (error instanceof Failure && error.code === 'setup') {
    for (const line of error.message.split('\n')) process.stderr.write(`telltale: ${line}\n`)
    process.exit(1)
  }
  process.stderr.write(`telltale: ${error instanceof Error ? error.stack : String(error)}\n`)
  process.exit(70)
}

function welcome(config: Config, { httpPort, httpsPort, mqttPort, mqttsPort, newKey }: App): string {
  const host = config.host === '0.0.0.0' || config.host === '::' ? '127.0.0.1' : config.host
  const web = `http://${host.includes(':') ? `[${host}]` : host}:${httpPort}`
  const page = config.roles.has('console') ? 'console' : 'http   '
  const shown = host.includes(':') ? `[${host}]` : host
  const secure = httpsPort === undefined ? [] : [`https    https://${shown}:${httpsPort}`]
  const mqtts = mqttsPort === undefined ? [] : [`mqtts    mqtts://${shown}:${mqttsPort}`]
  const doors = [`${page}  ${web}/`, ...secure, ...(mqttPort === undefined ? [] : [`mqtt     mqtt://${host}:${mqttPort}`]), ...mqtts]
  const lines = [`Telltale is running (${[...config.roles].join(', ')}). Stop it with Ctrl-C.`, '', ...doors.map(line => `  ${line}`)]
  if (!newKey) return `${[...lines, `  key      ${knownKey(config)}`, ''].join('\n')}\n`
  const { keyId, secret, project } = newKey
  const user = `${keyId}:${secret}`
  return `${[
    ...lines,
    `  key id   ${keyId}`,
    `  secret   ${secret}   (shown only now; kept for the command line in ${config.dataDir}/admin.json)`,
    '',
    'Follow the stream:',
    `  curl -N -u ${user} '${web}/v2/projects/${project}/devices:stream?ping_interval=10s'`,
    'Publish with curl:',
    `  curl -u ${user} -d '{"temperature":{"value":21.5}}' '${web}/v2/projects/${project}/devices/demo-1:publish'`,
    'Publish with any MQTT client:',
    `  npx mqtt pub -h ${host} -p ${mqttPort ?? config.mqttPort} -u ${keyId} -P ${secret} -q 1 -t d/demo-1/temperature -m 22.5`,
    '',
  ].join('\n')}\n`
}

function knownKey({ admin, dataDir, redisUrl }: Config): string {
  if (admin.secret !== undefined) return `${admin.keyId ?? 'admin'} (from the settings)`
  return redisUrl === undefined ? `as at the first start (${dataDir}/admin.json)` : 'as at the first start'
}

main().catch(explain)
