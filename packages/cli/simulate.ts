// `telltale simulate`: its options, and which of them go together. The runs are in fleet/run.ts and csv/run.ts.
import { type Command, Option } from 'commander'
import { invalid } from '../core/failure.ts'
import { replayFile } from './csv/run.ts'
import type { Plan } from './delivery.ts'
import { FAULTS, type Faults, parseFaults } from './fleet/fault.ts'
import { simulateFleet } from './fleet/run.ts'
import { addTargetOptions, collect, durationMs, numberAbove, oneOf, speed, timeUs, wholeNumber } from './option.ts'
import { resolveTarget, type TargetOptions } from './target.ts'
import type { Terminal } from './terminal.ts'

export type SimulateOptions = TargetOptions & {
  readonly devices: number
  readonly rate: number
  readonly count?: number
  readonly duration?: number
  readonly protocol: 'mqtt' | 'http'
  readonly qos: 0 | 1
  readonly connections?: number
  readonly speedup: number
  readonly from?: number
  readonly seed?: string
  readonly fault?: Faults
  readonly register: boolean
  readonly replay?: string
  readonly speed: number
  readonly missing?: readonly string[]
  readonly map?: readonly string[]
  readonly device?: string
  readonly timeZone: string
  readonly json?: boolean
}

const MAX_MQTT_CONNECTIONS = 50
const HTTP_CONNECTIONS = 4
const HTTP_BATCH = 500
/** About 20 KB a publish: under any server's packet limit. */
const REPLAY_MQTT_BATCH = 100
const MAX_OUTSTANDING = 1000
const REPLAY_MAX_OUTSTANDING = 10_000

const FLEET_ONLY = ['devices', 'rate', 'count', 'duration', 'speedup', 'from', 'seed', 'register']
const REPLAY_ONLY = ['speed', 'missing', 'map', 'timeZone', 'device']

export function addSimulate(command: Command, terminal: Terminal, ended: (ok: boolean) => void): void {
  addTargetOptions(command.description('send events from a simulated fleet of devices, or replay a recording'))
    .option('--devices <n>', 'devices in the fleet', wholeNumber('--devices', 1, 100_000), 12)
    .option('--rate <n>', 'events per second over the whole fleet', numberAbove('--rate', 0, 1_000_000), 5)
    .option('--count <n>', 'end after this many events', wholeNumber('--count', 1))
    .option('--duration <time>', 'end after this time, for example 30s', durationMs('--duration'))
    .option('--protocol <name>', 'mqtt or http', oneOf('--protocol', ['mqtt', 'http']), 'mqtt')
    .option('--qos <0|1>', 'MQTT quality of service; 0 has no acks', text => Number(oneOf('--qos', ['0', '1'])(text)), 1)
    .option(
      '--connections <n>',
      'MQTT connections (default: one per device, up to 50) or HTTP requests at once (default: 4)',
      wholeNumber('--connections', 1, 20_000),
    )
    .option(
      '--speedup <n>',
      "run the fleet's own clock this many times faster; events are still stamped now",
      numberAbove('--speedup', 0, 1e6),
      1,
    )
    .option(
      '--from <time>',
      "start the fleet's clock here and stamp events with it: history, and with --seed the same events again",
      timeUs('--from'),
    )
    .option('--seed <text>', 'the same seed gives the same series (default: a new one, shown at the end)')
    .option('--fault <names>', 'faults, each with an optional =value, see below', parseFaults)
    .option('--no-register', "do not set the devices' types and labels over HTTP first")
    .option('--replay <file.csv>', 'replay this recording instead of a simulated fleet')
    .addOption(
      new Option('--speed <n|max>', 'replay: this many times as fast as recorded')
        .argParser(speed)
        .default(Number.POSITIVE_INFINITY, 'max'),
    )
    .option('--missing <value>', 'replay: a cell with this value means "missing"; can be repeated', collect)
    .option('--map <mapping>', 'replay: COLUMN=device:eventType[.field]; can be repeated', collect)
    .option('--device <id>', 'replay: the device of the columns without --map (default: named after the file)')
    .option('--time-zone <zone>', 'replay: UTC or an offset such as +02:00, for times that name none', 'UTC')
    .option('--json', 'print the summary as JSON')
    .addHelpText('after', `\nFaults:\n${faultHelp()}\n\nExit code: 0 everything was acknowledged, 1 something was not, 2 wrong usage.`)
    .action(async (options: SimulateOptions) => {
      refuseStrangers(command, options)
      const target = resolveTarget(options, terminal.env)
      const run = options.replay === undefined ? simulateFleet : replayFile
      ended(await run(target, options, planOf(options), terminal))
    })
}

function planOf(options: SimulateOptions): Plan {
  const { protocol, qos } = options
  const replays = options.replay !== undefined
  const maxOutstanding = replays ? REPLAY_MAX_OUTSTANDING : MAX_OUTSTANDING
  if (protocol === 'http')
    return { protocol, qos, connections: options.connections ?? HTTP_CONNECTIONS, maxBatch: HTTP_BATCH, maxOutstanding }
  const connections = options.connections ?? (replays ? 1 : Math.min(options.devices, MAX_MQTT_CONNECTIONS))
  return { protocol, qos, connections, maxBatch: replays ? REPLAY_MQTT_BATCH : 1, maxOutstanding }
}

/** An option that would be ignored is a misunderstanding: say so before anything is sent. */
function refuseStrangers(command: Command, options: SimulateOptions): void {
  const replays = options.replay !== undefined
  const stranger = (replays ? FLEET_ONLY : REPLAY_ONLY).find(name => command.getOptionValueSource(name) === 'cli')
  if (stranger !== undefined) {
    const flag = command.options.find(option => option.attributeName() === stranger)?.long ?? stranger
    throw invalid(flag, replays ? 'expected only without --replay' : 'expected only with --replay FILE')
  }
  if (options.protocol === 'http' && command.getOptionValueSource('qos') === 'cli')
    throw invalid('--qos', 'expected only with --protocol mqtt')
  const faults = Object.keys(options.fault ?? {})
  if (replays && faults.some(name => name !== 'reconnect-storm'))
    throw invalid('--fault', 'expected only reconnect-storm with --replay: a recording is sent as it is')
  if (options.protocol === 'http' && faults.includes('reconnect-storm'))
    throw invalid('--fault', 'expected reconnect-storm only with --protocol mqtt')
}

function faultHelp(): string {
  return Object.entries(FAULTS)
    .map(([name, { usual, meaning }]) => `  ${name.padEnd(16)} ${meaning} (${usual})`)
    .join('\n')
}
