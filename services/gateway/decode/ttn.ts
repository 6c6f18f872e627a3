// Uplinks of The Things Stack (v3), by MQTT or webhook: `v3/{application}@{tenant}/devices/{device}/up`.
import { Type } from 'typebox'
import { invalid } from '../../../packages/core/failure.ts'
import type { Clock, Decoded } from './event.ts'
import type { Format, Output, Payload } from './format.ts'
import { base64In, checkCodec, codecOptions, decodeUplink, type Signal, signalIn } from './lorawan.ts'
import { reported } from './measure.ts'
import type { Sandbox } from './sandbox.ts'
import { type Fields, isObject, objectOf, textOf } from './text.ts'
import { eventTime } from './time.ts'

export function ttnFormat(sandbox: Sandbox): Format {
  return {
    name: 'ttn',
    version: 2,
    title: 'LoRaWAN uplinks of The Things Stack v3',
    options: Type.Object(
      {
        ...codecOptions,
        device: Type.Optional(
          Type.Union([Type.Literal('device_id'), Type.Literal('dev_eui')], {
            default: 'device_id',
            description: 'what the device is called',
          }),
        ),
      },
      { additionalProperties: false },
    ),
    topics: ['v3/+/devices/+/up'],
    contentTypes: [],
    check: options => checkCodec(sandbox, options),
    decode: (payload, clock) => decode(payload, sandbox, clock),
  }
}

async function decode({ bytes, place, options }: Payload, sandbox: Sandbox, clock: Clock): Promise<Output> {
  const message = objectOf(textOf(bytes))
  const device = place.device ?? deviceIn(message, options['device'] === 'dev_eui' ? 'dev_eui' : 'device_id', place.elseDevice)
  const uplink = message['uplink_message']
  if (isObject(uplink)) {
    const { decoded_payload: decoded, normalized_payload: normalized, f_port: fPort } = uplink
    const parts = {
      device,
      timeUs: timeIn(message, uplink),
      fPort: typeof fPort === 'number' ? fPort : undefined,
      payload: base64In(uplink['frm_payload'], 'uplink_message.frm_payload'),
      decoded: isObject(decoded) ? decoded : undefined,
      normalized: [normalized].flat().filter(isObject),
      signals: signalsIn(uplink['rx_metadata']),
      field: 'uplink_message.decoded_payload',
    }
    return { decoded: await decodeUplink(parts, options, sandbox, place, clock, bytes) }
  }
  const solved = message['location_solved']
  return { decoded: isObject(solved) ? located(device, message, solved, place.project, clock, bytes) : [] }
}

/** Every message of The Things Stack has it: joins, acknowledgements and failures of downlinks too, of which nothing is decoded. */
function deviceIn({ end_device_ids: ids }: Fields, name: 'device_id' | 'dev_eui', otherwise: string | undefined): string {
  if (!isObject(ids)) throw invalid('end_device_ids', 'missing: expected a message of The Things Stack v3')
  const device = ids[name] ?? otherwise
  if (typeof device !== 'string') throw invalid(`end_device_ids.${name}`, 'missing: expected the id of the device')
  return device
}

/** The network server's time: that of a gateway may be any, and the application server's comes after queues. */
function timeIn(message: Fields, uplink: Fields): number | undefined {
  if (uplink['received_at'] !== undefined) return eventTime(uplink['received_at'], 'uplink_message.received_at')
  if (message['received_at'] !== undefined) return eventTime(message['received_at'], 'received_at')
  const { settings } = uplink
  return isObject(settings) && settings['time'] !== undefined ? eventTime(settings['time'], 'uplink_message.settings.time') : undefined
}

function signalsIn(given: unknown): Signal[] {
  if (!Array.isArray(given)) return []
  return given.filter(isObject).flatMap(one => signalIn(isObject(one['gateway_ids']) ? one['gateway_ids']['gateway_id'] : undefined, one))
}

function located(device: string, message: Fields, solved: Fields, project: string, clock: Clock, element: Buffer): Decoded[] {
  const { location } = solved
  if (!isObject(location)) throw invalid('location_solved.location', 'missing: expected latitude and longitude')
  // What is 0 is left out.
  const { latitude = 0, longitude = 0, altitude, accuracy } = location
  const data = { latitude, longitude, ...(altitude === undefined ? {} : { altitude }), ...(accuracy === undefined ? {} : { accuracy }) }
  const more = [{ eventType: 'location', data: { location: data } }]
  return reported({ device, timeUs: timeIn(message, {}), measures: [], more }, project, clock, element)
}
