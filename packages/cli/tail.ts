// `telltale tail`: follows the live stream, one line an event, and goes on from its last cursor after a lost connection.
import type { Command } from 'commander'
import { checkDevice, checkEventType, type DeviceEvent } from '../core/event.ts'
import { parseDuration } from '../core/time.ts'
import { DeviceNames, eventLine } from './line.ts'
import { addLoginOptions, collect, durationMs, wholeNumber } from './option.ts'
import { rateOf } from './progress.ts'
import { follow, type StreamFilter } from './stream.ts'
import { resolveTarget, type Target, type TargetOptions } from './target.ts'
import { paletteOf, StatusLine, type Terminal, writeLine } from './terminal.ts'

type TailOptions = TargetOptions & {
  readonly device?: readonly string[]
  readonly deviceType?: readonly string[]
  readonly type?: readonly string[]
  readonly label?: readonly string[]
  readonly cursor?: string
  readonly ping: number
  readonly count?: number
  readonly json?: boolean
}

const STATUS_MS = 500

export function addTail(command: Command, terminal: Terminal, ended: (ok: boolean) => void): void {
  addLoginOptions(command.description('follow the live stream of events'))
    .option('--http <url>', 'the server (else TELLTALE_HTTP_URL, else http://127.0.0.1:8080)')
    .option('--device <id>', 'only this device; can be repeated', collect)
    .option('--device-type <type>', 'only devices of this type; can be repeated', collect)
    .option('--type <event type>', 'only events of this type; can be repeated', collect)
    .option('--label <filter>', 'only devices with this label, key or key=value; repeated: with all of them', collect)
    .option('--cursor <cursor>', 'begin after this place instead of now')
    .option('--count <n>', 'end after this many events', wholeNumber('--count', 1))
    .option('--ping <time>', 'how often the server says that it is there', durationMs('--ping'), parseDuration('10s'))
    .option('--json', 'print the lines of the stream as they come')
    .action(async (options: TailOptions) => {
      for (const device of options.device ?? []) checkDevice(device, '--device')
      for (const type of options.type ?? []) checkEventType(type, '--type')
      await tail(resolveTarget(options, terminal.env), options, terminal)
      ended(true)
    })
}

async function tail(target: Target, options: TailOptions, terminal: Terminal): Promise<void> {
  const status = new StatusLine(terminal.err)
  const palette = paletteOf(terminal.out, terminal.env)
  const names = new DeviceNames(target, terminal.stopped)
  const counts = { events: 0, reconnects: 0 }
  const rate = rateOf(() => counts.events)
  const showStatus = () => status.show(`${rate().toFixed(1)} events/s · ${counts.events} events · ${counts.reconnects} reconnects`)
  const timer = setInterval(showStatus, STATUS_MS)
  try {
    for await (const item of follow(target, filterOf(options), options.cursor, terminal.stopped)) {
      if (item.kind === 'lost') {
        counts.reconnects++
        status.clear()
        await writeLine(terminal.err, palette.yellow(`connection lost (${item.reason}), going on from the last event`))
        continue
      }
      const line = options.json === true ? item.line : await lineOf(item.event, names, palette)
      status.clear()
      await writeLine(terminal.out, line)
      if (++counts.events === options.count) return
    }
  } finally {
    clearInterval(timer)
    status.clear()
  }
}

async function lineOf(event: DeviceEvent, names: DeviceNames, palette: ReturnType<typeof paletteOf>): Promise<string> {
  return eventLine(event, await names.of(event), palette)
}

function filterOf({ device = [], deviceType = [], type = [], label = [], ping }: TailOptions): StreamFilter {
  return { devices: device, deviceTypes: deviceType, eventTypes: type, labels: label, pingMs: ping }
}
