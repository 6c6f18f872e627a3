// CONNECT, byte by byte: who is let in to prove who they are, who is refused in words that their version of MQTT has, and who is cut off.
import { stringEnd } from './packet.ts'
import { topicFault } from './text.ts'

/** `level` of the protocol: 3 (MQTT 3.1) or 4 (3.1.1). */
export type Connect = { readonly clientId: string; readonly level: number; readonly keepAliveS: number; readonly keepAliveAt: number }

/** `answer` goes out before the end. */
export type Refusal = { readonly fault: string; readonly answer?: Buffer }

const CLEAN = 2
const WILL = 4
const WILL_QOS = 0x18
const WILL_RETAIN = 0x20
const PASSWORD = 0x40
const USER = 0x80
/** Of MQTT 3.1.1 3.2.2.3. */
const BAD_LEVEL = 1
const BAD_CLIENT_ID = 2
const UNAVAILABLE = 3

const LEVELS: Readonly<Record<string, readonly number[]>> = {
  // With the highest bit bridges of mosquitto say that they are such; the packets are the same.
  MQTT: [4, 0x84],
  MQIsdp: [3, 0x83],
}
const MQTT_5 = 5
/** It names a session in Redis, several times. Every server takes 23 [MQTT-3.1.3-5]. */
const MAX_CLIENT_ID_BYTES = 256

const REASON_5 = 'this server speaks MQTT 3.1.1 (protocol level 4) and MQTT 3.1 (MQIsdp, level 3)'

export const TOO_BUSY = connack(UNAVAILABLE)

/** By the first byte of a connection. */
export function firstFault(first: number): string | undefined {
  if (first >> 4 !== 1) return '[MQTT-3.1.0-1] a first packet that is not CONNECT'
  return first === 0x10 ? undefined : '[MQTT-2.2.2-2] reserved flags of CONNECT'
}

/** Of a packet whose body stands from `body` to `end`. */
export function readConnect(bytes: Buffer, body: number, end: number): Connect | Refusal {
  const nameEnd = stringEnd(bytes, body, end, 'the protocol name')
  if (typeof nameEnd === 'string') return { fault: nameEnd }
  const levels = levelsOf(bytes.toString('utf8', body + 2, nameEnd))
  const level = bytes[nameEnd]
  // Without words: whoever this is, it is not MQTT.
  if (!levels || level === undefined || nameEnd === end) return { fault: '[MQTT-3.1.2-1] not the protocol name of MQTT' }
  if (level === MQTT_5 && levels.includes(4)) return { fault: `MQTT 5: ${REASON_5}`, answer: connack5() }
  if (!levels.includes(level)) return { fault: `[MQTT-3.1.2-2] protocol level ${level}`, answer: connack(BAD_LEVEL) }
  if (nameEnd + 4 > end) return { fault: '[MQTT-3.1.2] CONNECT that is cut short' }
  return readPayload(bytes, nameEnd + 1, end, level & 0x7f)
}

function levelsOf(name: string): readonly number[] | undefined {
  return Object.hasOwn(LEVELS, name) ? LEVELS[name] : undefined
}

function readPayload(bytes: Buffer, flagsAt: number, end: number, level: number): Connect | Refusal {
  const flags = bytes[flagsAt] as number
  const fault = flagsFault(flags)
  if (fault !== undefined) return { fault }
  const idAt = flagsAt + 3
  const idEnd = stringEnd(bytes, idAt, end, '[MQTT-3.1.3-3] the client id')
  if (typeof idEnd === 'string') return { fault: idEnd }
  const rest = restFault(bytes, idEnd, end, flags)
  if (rest !== undefined) return { fault: rest }
  const clientId = bytes.toString('utf8', idAt + 2, idEnd)
  if (clientId === '' && (flags & CLEAN) === 0)
    return { fault: '[MQTT-3.1.3-8] an empty client id with clean session 0', answer: connack(BAD_CLIENT_ID) }
  if (idEnd - idAt - 2 > MAX_CLIENT_ID_BYTES)
    return { fault: `a client id of more than ${MAX_CLIENT_ID_BYTES} bytes`, answer: connack(BAD_CLIENT_ID) }
  // CVE-2017-7650: what stands for a client in a pattern of topics may be none itself.
  if (/[+#]/.test(clientId)) return { fault: 'a client id with + or #', answer: connack(BAD_CLIENT_ID) }
  return { clientId, level, keepAliveS: bytes.readUInt16BE(flagsAt + 1), keepAliveAt: flagsAt + 1 }
}

function flagsFault(flags: number): string | undefined {
  if ((flags & 1) !== 0) return '[MQTT-3.1.2-3] the reserved flag of CONNECT'
  if ((flags & WILL) === 0) {
    if ((flags & WILL_QOS) !== 0) return '[MQTT-3.1.2-13] a QoS for a will that there is not'
    if ((flags & WILL_RETAIN) !== 0) return '[MQTT-3.1.2-15] a retained will that there is not'
  }
  if ((flags & WILL_QOS) === WILL_QOS) return '[MQTT-3.1.2-14] a will with QoS 3'
  return (flags & USER) === 0 && (flags & PASSWORD) !== 0 ? '[MQTT-3.1.2-22] a password without a user name' : undefined
}

/** What the flags announce stands there, well-formed, and nothing after it. */
function restFault(bytes: Buffer, from: number, end: number, flags: number): string | undefined {
  let at = from
  if ((flags & WILL) !== 0) {
    const topicEnd = stringEnd(bytes, at, end, '[MQTT-3.1.3-10] the topic of the will')
    if (typeof topicEnd === 'string') return topicEnd
    const fault = topicFault(bytes, at + 2, topicEnd)
    if (fault !== undefined) return fault
    at = binaryEnd(bytes, topicEnd, end)
    if (at < 0) return '[MQTT-3.1.2-9] a will that is cut short'
  }
  if ((flags & USER) !== 0) {
    const userEnd = stringEnd(bytes, at, end, '[MQTT-3.1.3-11] the user name')
    if (typeof userEnd === 'string') return userEnd
    at = userEnd
  }
  if ((flags & PASSWORD) !== 0) {
    at = binaryEnd(bytes, at, end)
    if (at < 0) return '[MQTT-3.1.2-21] a password that is cut short'
  }
  return at === end ? undefined : '[MQTT-3.1.2-20] more in CONNECT than its flags announce'
}

function binaryEnd(bytes: Buffer, at: number, end: number): number {
  if (end - at < 2) return -1
  const binaryEndsAt = at + 2 + bytes.readUInt16BE(at)
  return binaryEndsAt > end ? -1 : binaryEndsAt
}

function connack(code: number): Buffer {
  return Buffer.from([0x20, 2, 0, code])
}

/** As MQTT 5 has it (3.2.2.2 reason code, 3.2.2.3.9 reason string), so that its clients can show why. */
function connack5(): Buffer {
  const reason = Buffer.from(REASON_5)
  const property = Buffer.concat([Buffer.from([0x1f, reason.length >> 8, reason.length & 255]), reason])
  return Buffer.concat([Buffer.from([0x20, 3 + property.length, 0, 0x84, property.length]), property])
}
