// What stands in a durable stream for a device event.
import type { Device } from '../../../packages/core/device.ts'
import type { DeviceEvent } from '../../../packages/core/event.ts'
import { checkTime } from '../../../packages/core/time.ts'
import type { NewMessage } from '../../../packages/log/durable/message.ts'
import { COPIER, type Connector } from '../../../packages/state/connector.ts'

/** @param frame the event as JSON, which is the payload as it is. @param device undefined: it is gone meanwhile. */
export function messageOf(
  { labels: wanted }: Pick<Connector, 'labels'>,
  id: string,
  device: Device | undefined,
  frame: string,
): NewMessage {
  const { eventId, eventType, timestamp } = JSON.parse(frame) as DeviceEvent
  const known = device?.labels ?? {}
  const labels = wanted.filter(key => Object.hasOwn(known, key)).map(key => [`label.${key}`, known[key] as string])
  return {
    payload: Buffer.from(frame),
    key: id,
    properties: { device: id, eventType, eventId, ...Object.fromEntries(labels) },
    eventTimeUs: checkTime(timestamp, 'timestamp'),
    producer: COPIER,
  }
}
