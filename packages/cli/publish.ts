// `telltale publish DEVICE TYPE VALUE`: one event, and whether the server took it, as far as the protocol tells.
import type { Command } from 'commander'
import { checkDevice, checkEventId, checkEventType, type EventData, mainField } from '../core/event.ts'
import { Failure, invalid } from '../core/failure.ts'
import { deliver } from './delivery.ts'
import { addLoginOptions, timeUs } from './option.ts'
import { eventIdOf, outgoing } from './shape.ts'
import { type Environment, resolveTarget, type Target, type TargetOptions } from './target.ts'
import { paletteOf, printable, type Terminal, writeLine } from './terminal.ts'

type PublishOptions = Omit<TargetOptions, 'http' | 'mqtt'> & {
  /** True: chosen, at the usual address. */
  readonly http?: string | true
  readonly mqtt?: string | true
  readonly time?: number
  readonly eventId?: string
  readonly json?: boolean
}

export function addPublish(command: Command, terminal: Terminal, ended: (ok: boolean) => void): void {
  addLoginOptions(command.description('publish one event of a device'))
    .argument('<device>', 'device id')
    .argument('<type>', 'event type, for example temperature')
    .argument('<value>', 'a number, a word such as OPEN, or JSON: {"value":21.5} or {"temperature":{"value":21.5}}')
    .option(
      '--http [url]',
      'publish over HTTP (the default), at this address (else TELLTALE_HTTP_URL, else http://127.0.0.1:8080)',
      address('--http'),
    )
    .option('--mqtt [url]', 'publish over MQTT, at this address (else TELLTALE_MQTT_URL, else mqtt://127.0.0.1:1883)', address('--mqtt'))
    .option('--time <time>', 'when it was measured (default: now)', timeUs('--time'))
    .option('--event-id <id>', 'id of the event; the same id twice is one event (default: made from the event)')
    .option('--json', 'print the outcome as JSON')
    .action(async (device: string, eventType: string, value: string, options: PublishOptions) => {
      ended(await publish(device, eventType, value, options, terminal))
    })
}

async function publish(device: string, eventType: string, value: string, options: PublishOptions, terminal: Terminal): Promise<boolean> {
  const target = targetOf(options, terminal.env)
  const fields = fieldsOf(checkEventType(eventType, 'TYPE'), value)
  const draft = { device: checkDevice(device, 'DEVICE'), eventType, fields, timeUs: options.time ?? Date.now() * 1000 }
  const eventId = checkEventId(options.eventId ?? eventIdOf(device, eventType, draft.timeUs, value), '--event-id')
  const protocol = options.mqtt === undefined ? 'http' : 'mqtt'
  const plan = { protocol, qos: 1, connections: 1, maxBatch: 1, maxOutstanding: 2 } as const
  const delivery = await deliver(target, plan, terminal, undefined, async transport => {
    if (!terminal.stopped.aborted) await transport.send(outgoing(target.project, draft, eventId))
  })
  const done = delivery.acked === 1
  // An ack of MQTT does not say that the event was good: what is refused is acknowledged and quarantined.
  const word = protocol === 'mqtt' ? 'sent' : 'accepted'
  const reason = done ? undefined : printable(delivery.refusals[0]?.reason ?? delivery.failure ?? NO_ANSWER)
  const ms = delivery.worstAckMs
  if (options.json === true) await writeLine(terminal.out, JSON.stringify({ [word]: done, eventId, protocol, ms, reason }))
  else if (reason !== undefined) await writeLine(terminal.err, `error: not ${word}: ${reason}`)
  else await writeLine(terminal.out, `${paletteOf(terminal.out, terminal.env).green(word)} ${eventId} over ${protocol} in ${ms} ms`)
  return done
}

const NO_ANSWER = 'no answer in time; it may have arrived, and publishing it again with --time and --event-id is harmless'

function targetOf({ http, mqtt, ...login }: PublishOptions, env: Environment): Target {
  if (http !== undefined && mqtt !== undefined) throw invalid('--mqtt', 'expected without --http')
  return resolveTarget({ ...login, http: http === true ? undefined : http, mqtt: mqtt === true ? undefined : mqtt }, env)
}

/** An option with an optional value would take the next argument for it. */
function address(option: string): (text: string) => string {
  return text => {
    if (!text.includes('://')) throw invalid(option, `expected a URL or nothing, got "${text}": put ${option} after the arguments`)
    return text
  }
}

/** The fields below the event type: of `21.5`, `OPEN`, `{"value":21.5}` or `{"temperature":{"value":21.5}}`. */
function fieldsOf(eventType: string, text: string): EventData {
  const value = parsed(text)
  if (typeof value === 'string' || typeof value === 'boolean' || (typeof value === 'number' && Number.isFinite(value)))
    return { [mainField(eventType)]: value }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalid('VALUE', `expected a number, a word or a JSON object, got "${text}"`)
  const inner = Object.hasOwn(value, eventType) ? (value as EventData)[eventType] : undefined
  return (typeof inner === 'object' && inner !== null ? inner : value) as EventData
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    if (/^\s*[[{"]/.test(text) || text.trim() === '')
      throw new Failure('invalid', `VALUE: expected JSON, got "${text}"`, { field: 'VALUE', cause })
    // A bare word such as OPEN is a state.
    return text
  }
}
