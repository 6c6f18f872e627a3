// Every rule of MQTT 3.1.1 on the form of a packet that a client may send after its CONNECT. What breaks one is a protocol error, and
// the connection ends [MQTT-4.8.0-1].
import type { Cut } from './port.ts'
import { filterFault, textFault, topicFault } from './text.ts'

export const CONNECT = 1
export const PUBLISH = 3
export const PUBREL = 6
export const DISCONNECT = 14
export const DISCONNECT_PACKET = Buffer.from([0xe0, 0])

export const PUBACK = 4
export const PUBREC = 5
export const PUBCOMP = 7
const SUBSCRIBE = 8
const UNSUBSCRIBE = 10
const SUBACK = 9
const UNSUBACK = 11
const PINGREQ = 12
const PINGRESP = 13

/** Of one SUBSCRIBE or UNSUBSCRIBE: as many as a session may have. */
const MAX_FILTERS = 1000

/** By type: the lower four bits of the first byte [MQTT-2.2.2-1], and the clause that says so. */
const FLAGS: Readonly<Record<number, readonly [flags: number, clause: string]>> = {
  [PUBACK]: [0, 'MQTT-2.2.2-2'],
  [PUBREC]: [0, 'MQTT-2.2.2-2'],
  [PUBREL]: [2, 'MQTT-3.6.1-1'],
  [PUBCOMP]: [0, 'MQTT-2.2.2-2'],
  [SUBSCRIBE]: [2, 'MQTT-3.8.1-1'],
  [UNSUBSCRIBE]: [2, 'MQTT-3.10.1-1'],
  [PINGREQ]: [0, 'MQTT-2.2.2-2'],
  [DISCONNECT]: [0, 'MQTT-3.14.1-1'],
}

/** Of the broker, to one packet of the client. */
export function isAnswer(type: number): boolean {
  return isAck(type) || type === SUBACK || type === UNSUBACK || type === PINGRESP
}

/** Whether a packet of the client has an answer; DISCONNECT and acknowledgements have none, nor has what is published with QoS 0. */
export function wantsAnswer(first: number): boolean {
  const type = first >> 4
  return type === PUBLISH ? (first & 6) !== 0 : type === PUBREL || type === SUBSCRIBE || type === UNSUBSCRIBE || type === PINGREQ
}

/** Of a client. */
export function changesFilters(type: number): boolean {
  return type === SUBSCRIBE || type === UNSUBSCRIBE
}

/** The answer to that. */
export function saysChanged(type: number): boolean {
  return type === SUBACK || type === UNSUBACK
}

/** Of what the broker has sent. */
export function isAck(type: number): boolean {
  return type === PUBACK || type === PUBREC || type === PUBCOMP
}

/** MQTT 3.1 has DUP also for these (2.1, table 2.2), and its clients set it when they send them again. */
export function isOldRepeat(first: number, level: number): boolean {
  const type = first >> 4
  return level === 3 && (first & 8) !== 0 && (type === PUBREL || changesFilters(type))
}

/** What the first byte of a packet alone says is wrong, or nothing; CONNECT is not for here. @param level of the protocol: 3 or 4. */
export function headerFault(first: number, level: number): string | undefined {
  const type = first >> 4
  if (type === PUBLISH) return publishFlagsFault(first)
  if (type === CONNECT) return '[MQTT-3.1.0-2] a second CONNECT'
  const expected = FLAGS[type]
  if (!expected) return `[MQTT-2.2.1] a packet of type ${type}, which no client sends`
  const [flags, clause] = expected
  const given = isOldRepeat(first, level) ? first & 7 : first & 15
  return given === flags ? undefined : `[${clause}] reserved flags of a packet of type ${type}`
}

function publishFlagsFault(first: number): string | undefined {
  const qos = (first >> 1) & 3
  if (qos === 3) return '[MQTT-3.3.1-4] PUBLISH with QoS 3'
  return qos === 0 && (first & 8) !== 0 ? '[MQTT-3.3.1-2] PUBLISH with QoS 0 and DUP' : undefined
}

/** What is wrong with the body of a packet whose first byte is good, or nothing. */
export function bodyFault(first: number, bytes: Buffer, body: number, end: number): string | undefined {
  switch (first >> 4) {
    case PUBLISH:
      return publishFault((first & 6) !== 0, bytes, body, end)
    case SUBSCRIBE:
      return filtersFault(bytes, body, end, true)
    case UNSUBSCRIBE:
      return filtersFault(bytes, body, end, false)
    case PINGREQ:
      return body === end ? undefined : '[MQTT-3.12] PINGREQ with a body'
    case DISCONNECT:
      return body === end ? undefined : '[MQTT-3.14] DISCONNECT with a body'
    default:
      return ackFault(bytes, body, end)
  }
}

function publishFault(hasId: boolean, bytes: Buffer, body: number, end: number): string | undefined {
  if (end - body < 2) return '[MQTT-3.3.2-1] PUBLISH without a topic'
  const topic = body + 2
  const topicEnd = topic + bytes.readUInt16BE(body)
  if (topicEnd > end) return '[MQTT-3.3.2-1] PUBLISH whose topic is longer than the packet'
  const fault = topicFault(bytes, topic, topicEnd)
  return fault ?? (hasId ? idFault(bytes, topicEnd, end) : undefined)
}

function idFault(bytes: Buffer, at: number, end: number): string | undefined {
  if (end - at < 2) return '[MQTT-2.3.1-1] a packet without its packet identifier'
  return bytes.readUInt16BE(at) === 0 ? '[MQTT-2.3.1-1] packet identifier 0' : undefined
}

function ackFault(bytes: Buffer, body: number, end: number): string | undefined {
  return end - body === 2 ? idFault(bytes, body, end) : '[MQTT-3.4.2] an acknowledgement of another length than two bytes'
}

function filtersFault(bytes: Buffer, body: number, end: number, subscribes: boolean): string | undefined {
  const fault = idFault(bytes, body, end)
  if (fault !== undefined) return fault
  if (end - body === 2) return subscribes ? '[MQTT-3.8.3-3] SUBSCRIBE without a filter' : '[MQTT-3.10.3-2] UNSUBSCRIBE without a filter'
  for (let at = body + 2, count = 1; at < end; count++) {
    if (count > MAX_FILTERS) return `too many: more than ${MAX_FILTERS} filters in one packet`
    const next = oneFilter(bytes, at, end, subscribes)
    if (typeof next === 'string') return next
    at = next
  }
  return undefined
}

/** @returns where it ends, or what is wrong with it. */
function oneFilter(bytes: Buffer, at: number, end: number, subscribes: boolean): number | string {
  const filterEnd = end - at < 2 ? end + 1 : at + 2 + bytes.readUInt16BE(at)
  const next = subscribes ? filterEnd + 1 : filterEnd
  if (next > end) return `[MQTT-${subscribes ? '3.8.3-1' : '3.10.3-1'}] a filter that is cut short`
  return filterFault(bytes, at + 2, filterEnd) ?? (subscribes ? qosFault(bytes[filterEnd] as number) : undefined) ?? next
}

function qosFault(qos: number): string | undefined {
  return qos > 2 ? '[MQTT-3.8.3-4] a requested QoS that is not 0, 1 or 2' : undefined
}

/** A string that a length of two bytes stands before. @returns where it ends, or what is wrong with it. */
export function stringEnd(bytes: Buffer, at: number, end: number, what: string): number | string {
  if (end - at < 2) return `[MQTT-1.5.3] ${what} is missing`
  const stringEndsAt = at + 2 + bytes.readUInt16BE(at)
  if (stringEndsAt > end) return `[MQTT-1.5.3] ${what} is longer than the packet`
  return textFault(bytes, at + 2, stringEndsAt) ?? stringEndsAt
}

export function tooLong(length: number, limit: number): string {
  return `too long: a packet of ${length} bytes, at most ${limit} are taken`
}

export function cutOf(fault: string): Cut {
  if (fault.startsWith('too long')) return 'too long'
  return fault.startsWith('too many') ? 'too many' : 'malformed'
}
