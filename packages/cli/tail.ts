// `telltale tail`: follows the live stream, one line an event, and goes on from its last cursor after a lost connection.
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { type Command, Option } from 'commander'
import type { Alarm, EventStream, GapEvent, SlowPolicy, StreamOptions, Telltale, TelltaleError } from '../client/index.ts'
import { checkDevice, checkEventType, type DeviceEvent } from '../core/event.ts'
import { Failure, invalid } from '../core/failure.ts'
import { asciiJson } from '../core/json.ts'
import { formatDuration, parseTime } from '../core/time.ts'
import { explained, openClient } from './api.ts'
import { alarmLine, DeviceNames, deviceColumn, deviceOf, eventLine, gapLine } from './line.ts'
import { addLoginOptions, collect, durationMs, oneOf, pastUs, wholeNumber } from './option.ts'
import { rateOf } from './progress.ts'
import { resolveTarget, type Target, type TargetOptions } from './target.ts'
import { type Palette, paletteOf, printable, type Screen, StatusLine, type Terminal, writeLine } from './terminal.ts'

type TailOptions = TargetOptions & {
  readonly device?: readonly string[]
  readonly deviceType?: readonly string[]
  readonly type?: readonly string[]
  readonly label?: readonly string[]
  readonly labelMatch?: 'all' | 'any'
  readonly product?: readonly string[]
  readonly since?: number
  readonly cursor?: string
  readonly resume?: string
  readonly slow?: SlowPolicy
  readonly ping: number
  readonly count?: number
  readonly alarms?: boolean
  readonly json?: boolean
}

type Item = DeviceEvent | GapEvent | Alarm

const STATUS_MS = 500
const KEEP_MS = 1000

const SLOW =
  'what does not fit on the screen fast enough: disconnect (it comes later; the default), drop (a gap), latest (the newest of each device and type)'
const EXIT_CODES = `
Exit code: 0 after --count or Ctrl-C, 1 when the server refused or events are missing (a line that begins with GAP says which), 2 wrong usage.`

export function addTail(command: Command, terminal: Terminal, ended: (ok: boolean) => void): void {
  addLoginOptions(command.description('follow the live stream of events, or of alarms'))
    .option('--http <url>', 'the server (else TELLTALE_HTTP_URL, else http://127.0.0.1:8080)')
    .option('--alarms', 'changes of alarms instead of events')
    .option('--device <id>', 'only this device; can be repeated', collect)
    .option('--device-type <type>', 'only devices of this type; can be repeated', collect)
    .option('--type <event type>', 'only events of this type, with --alarms alarms of this rule; can be repeated', collect)
    .option('--label <filter>', 'only devices with this label, key or key=value; can be repeated', collect)
    .option(
      '--label-match <match>',
      'whether all labels must hold or any is enough (else as the server is set)',
      oneOf('--label-match', ['all', 'any'] as const),
    )
    .option('--product <number>', 'only devices with this product number; can be repeated', collect)
    .option('--since <time>', 'begin at this time instead of now: 2026-03-01T08:00:00Z, or 10m for ten minutes ago', pastUs('--since'))
    .option('--cursor <cursor>', 'begin after this place instead of now')
    .option('--resume <file>', 'begin after the place in this file, if it is there, and keep the place in it')
    .option('--count <n>', 'end after this many', wholeNumber('--count', 1))
    .option('--slow <policy>', SLOW, oneOf('--slow', ['disconnect', 'drop', 'latest'] as const))
    .addOption(
      new Option('--ping <time>', 'how often the server says that it is there').argParser(durationMs('--ping')).default(10_000, '10s'),
    )
    .option('--json', 'print the lines of the stream as they come')
    .addHelpText('after', EXIT_CODES)
    .action(async (options: TailOptions) => {
      for (const device of options.device ?? []) checkDevice(device, '--device')
      for (const type of options.type ?? []) checkEventType(type, '--type')
      if (options.resume !== undefined && options.cursor !== undefined) throw invalid('--resume', 'expected without --cursor')
      ended(await new Tail(resolveTarget(options, terminal.env), options, terminal).run())
    })
}

class Tail {
  readonly #target: Target
  readonly #options: TailOptions
  readonly #terminal: Terminal
  readonly #palette: Palette
  readonly #status: StatusLine
  readonly #client: Telltale
  readonly #names: DeviceNames
  readonly #column = deviceColumn()
  #items = 0
  #reconnects = 0
  #gaps = 0
  #lagMs: number | undefined
  #connected = false
  #wasLost = false
  /** What is being shown is behind the cursor already, and would be missing if we were killed now. */
  #showing = false
  /** Why the place could not be kept. */
  #unkept: unknown

  constructor(target: Target, options: TailOptions, terminal: Terminal) {
    this.#target = target
    this.#options = options
    this.#terminal = terminal
    this.#palette = paletteOf(terminal.out, terminal.env)
    this.#status = new StatusLine(terminal.err)
    this.#client = openClient(target)
    this.#names = new DeviceNames(this.#client)
  }

  /** True when nothing was missing. */
  async run(): Promise<boolean> {
    const stream = this.#open()
    const rate = rateOf(() => this.#items)
    const timers = [setInterval(() => this.#showStatus(rate()), STATUS_MS), setInterval(() => this.#tryToKeep(stream), KEEP_MS)]
    try {
      for await (const item of stream) {
        this.#showing = true
        await this.#show(item, stream.cursor)
        this.#showing = false
        if (this.#items === this.#options.count) break
      }
    } catch (error) {
      throw explained(this.#target, this.#options.alarms === true ? 'alarms:stream' : 'devices:stream', error)
    } finally {
      for (const timer of timers) clearInterval(timer)
      this.#names.close()
      this.#status.clear()
      this.#tryToKeep(stream)
    }
    if (this.#unkept !== undefined) throw this.#unkept
    return this.#gaps === 0
  }

  #open(): EventStream<Item> {
    const {
      device = [],
      deviceType = [],
      type = [],
      label = [],
      product = [],
      labelMatch,
      since,
      cursor,
      resume,
      slow,
      ping,
      alarms,
    } = this.#options
    const options: StreamOptions & { gaps: 'yield' } = {
      devices: device,
      deviceTypes: deviceType,
      eventTypes: type,
      labels: label,
      productNumbers: product,
      since: since === undefined ? undefined : new Date(since / 1000),
      cursor: cursor ?? (resume === undefined ? undefined : placeIn(resume)),
      ...(labelMatch === undefined ? {} : { labelMatch }),
      ...(slow === undefined ? {} : { slow }),
      ping: formatDuration(ping),
      gaps: 'yield',
      signal: this.#terminal.stopped,
      onOpen: () => this.#opened(),
      onLost: (error, retryMs) => this.#lost(error, retryMs),
    }
    return alarms === true ? this.#client.alarms.stream(options) : (this.#client.stream(options) as EventStream<DeviceEvent>)
  }

  #opened(): void {
    this.#connected = true
    if (!this.#wasLost) return
    this.#wasLost = false
    this.#reconnects++
    this.#say(this.#palette.green('connected again'))
  }

  #lost({ message }: TelltaleError, retryMs: number): void {
    this.#wasLost = true
    if (this.#connected) this.#say(this.#palette.yellow(`connection lost (${printable(message)}), going on from the last event`))
    else this.#say(this.#palette.yellow(`no connection (${printable(message)}), trying again in ${(retryMs / 1000).toFixed(1)} s`))
    this.#connected = false
  }

  #say(line: string): void {
    this.#status.clear()
    this.#terminal.err.write(`${line}\n`)
    this.#status.restore()
  }

  async #show(item: Item, cursor: string | undefined): Promise<void> {
    const isGap = 'eventType' in item && item.eventType === 'gap'
    const line = this.#options.json === true ? asciiJson({ result: resultOf(item, cursor) }) : this.#lineOf(item)
    if (isGap) this.#gaps++
    else {
      this.#items++
      if ('timestamp' in item) this.#lagMs = Date.now() - (parseTime(item.timestamp) ?? 0) / 1000
    }
    await this.#print(isGap && this.#options.json !== true ? this.#terminal.err : this.#terminal.out, line)
  }

  /** Where lines go by the same terminal the rate stays below them. */
  async #print(screen: Screen, line: string): Promise<void> {
    const above = screen.isTTY === true || screen === this.#terminal.err
    if (above) this.#status.clear()
    await writeLine(screen, line)
    if (above) this.#status.restore()
  }

  #lineOf(item: Item): string {
    if (!('eventType' in item)) return alarmLine(item, this.#names.of(item.device), this.#column, this.#palette)
    if (item.eventType === 'gap') return gapLine(item as GapEvent, paletteOf(this.#terminal.err, this.#terminal.env))
    const device = deviceOf(item)
    if (item.eventType === 'labelsChanged') this.#names.forget(device)
    return eventLine(item, this.#names.of(device), this.#column, this.#palette)
  }

  #showStatus(rate: number): void {
    const what = this.#options.alarms === true ? 'alarms' : 'events'
    const lag = this.#lagMs === undefined ? '' : ` · ${Math.max(0, this.#lagMs / 1000).toFixed(1)} s behind`
    const link = this.#connected ? '' : ' · not connected'
    this.#status.show(`${rate.toFixed(1)} ${what}/s · ${this.#items} ${what}${lag} · ${this.#reconnects} reconnects${link}`)
  }

  /** Without a place to go on from there is no sense in going on: `run` says why. */
  #tryToKeep(stream: EventStream<Item>): void {
    try {
      this.#keep(stream)
    } catch (error) {
      this.#unkept ??= error
      void stream.return()
    }
  }

  /** In one step, so that a program that is killed leaves the place before or after, never half of one. */
  #keep({ cursor }: EventStream<Item>): void {
    const { resume } = this.#options
    if (resume === undefined || cursor === undefined || this.#showing) return
    try {
      writeFileSync(`${resume}.new`, `${cursor}\n`)
      renameSync(`${resume}.new`, resume)
    } catch (cause) {
      throw new Failure('unavailable', `--resume: ${resume} cannot be written (${(cause as NodeJS.ErrnoException).code})`, { cause })
    }
  }
}

/** As it stood on the wire, ASCII only: nothing in it reaches a terminal as a control character. */
function resultOf(item: Item, cursor: string | undefined): object {
  return 'eventType' in item ? { event: item, cursor } : { alarm: item, cursor }
}

function placeIn(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim() || undefined
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new Failure('invalid', `--resume: ${path} cannot be read (${(cause as NodeJS.ErrnoException).code})`, { cause })
  }
}
