// Events of ChirpStack (v4), by MQTT or its HTTP integration: `application/{id}/device/{devEui}/event/up`, and `status` for the battery.
import { Type } from 'typebox'
import { invalid } from '../../../packages/core/failure.ts'
import type { Clock } from './event.ts'
import type { Format, Output, Payload } from './format.ts'
import { base64In, checkCodec, codecOptions, decodeUplink, type Signal, signalIn, type Uplink } from './lorawan.ts'
import { type Measure, type Measured, reported } from './measure.ts'
import type { Sandbox } from './sandbox.ts'
import { type Fields, isObject, objectOf, textOf } from './text.ts'
import { eventTime } from './time.ts'

export function chirpstackFormat(sandbox: Sandbox): Format {
  return {
    name: 'chirpstack',
    version: 2,
    title: 'LoRaWAN uplinks and status of ChirpStack v4',
    options: Type.Object(
      {
        ...codecOptions,
        device: Type.Optional(
          Type.Union([Type.Literal('devEui'), Type.Literal('deviceName')], { default: 'devEui', description: 'what the device is called' }),
        ),
      },
      { additionalProperties: false },
    ),
    topics: ['application/+/device/+/event/up', 'application/+/device/+/event/status', 'application/+/device/+/event/location'],
    contentTypes: [],
    check: options => checkCodec(sandbox, options),
    decode: (payload, clock) => decode(payload, sandbox, clock),
  }
}

async function decode({ bytes, topic, place, options }: Payload, sandbox: Sandbox, clock: Clock): Promise<Output> {
  const event = objectOf(textOf(bytes))
  const device = place.device ?? deviceIn(event, options['device'] === 'deviceName' ? 'deviceName' : 'devEui', place.elseDevice)
  const timeUs = event['time'] === undefined || event['time'] === null ? undefined : eventTime(event['time'], 'time')
  const report = (measures: readonly Measure[], more: readonly Measured[]) => ({
    decoded: reported({ device, timeUs, measures, more }, place.project, clock, bytes),
  })
  const kind = kindOf(event, topic)
  if (kind === 'up') return { decoded: await decodeUplink(uplinkIn(event, device, timeUs), options, sandbox, place, clock, bytes) }
  if (kind === 'status') return report(statusOf(event), [])
  if (kind === 'location') return report([], locationOf(event))
  return { decoded: [] }
}

function uplinkIn({ object, fPort, data, rxInfo }: Fields, device: string, timeUs: number | undefined): Uplink {
  return {
    device,
    timeUs,
    fPort: typeof fPort === 'number' ? fPort : undefined,
    payload: base64In(data, 'data'),
    decoded: isObject(object) ? object : undefined,
    normalized: [],
    signals: signalsIn(rxInfo),
    field: 'object',
  }
}

const KINDS: ReadonlySet<string> = new Set(['up', 'status', 'location', 'join', 'ack', 'txack', 'log', 'integration'])

/** The last level of its topic says it; over HTTP only what stands in it. */
function kindOf(event: Fields, topic: readonly string[]): string {
  const last = topic.at(-1) ?? ''
  if (KINDS.has(last)) return last
  if (isObject(event['location'])) return 'location'
  if ('margin' in event || 'batteryLevel' in event) return 'status'
  return 'rxInfo' in event || 'fPort' in event || 'data' in event ? 'up' : ''
}

function deviceIn({ deviceInfo }: Fields, name: 'devEui' | 'deviceName', otherwise: string | undefined): string {
  if (!isObject(deviceInfo)) throw invalid('deviceInfo', 'missing: expected an event of ChirpStack v4')
  const device = deviceInfo[name] ?? otherwise
  if (typeof device !== 'string' || device === '') throw invalid(`deviceInfo.${name}`, 'missing: expected the id of the device')
  return device
}

function signalsIn(given: unknown): Signal[] {
  if (!Array.isArray(given)) return []
  return given.filter(isObject).flatMap(one => signalIn(one['gatewayId'], one))
}

function statusOf({ batteryLevel, margin, externalPowerSource, batteryLevelUnavailable }: Fields): Measure[] {
  const measures: Measure[] = []
  if (typeof batteryLevel === 'number' && externalPowerSource !== true && batteryLevelUnavailable !== true)
    measures.push({ name: 'battery', value: batteryLevel, unit: '%' })
  if (typeof margin === 'number') measures.push({ name: 'linkMargin', value: margin, unit: 'dB' })
  return measures
}

function locationOf({ location }: Fields): Measured[] {
  if (!isObject(location)) throw invalid('location', 'missing: expected latitude and longitude')
  // What is 0 is left out.
  const { latitude = 0, longitude = 0, altitude } = location
  return [{ eventType: 'location', data: { location: { latitude, longitude, ...(altitude === undefined ? {} : { altitude }) } } }]
}
