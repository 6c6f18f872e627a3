// Strings of MQTT as bytes: UTF-8, topic names and topic filters. Each rule is named by its clause in the reason.
import { isUtf8 } from 'node:buffer'

/** Each filter is matched level by level; with those that the broker puts in front it stays below the 100 that its matcher takes. */
export const MAX_LEVELS = 96

const SLASH = 0x2f
const PLUS = 0x2b
const HASH = 0x23

/** @returns what is wrong with the UTF-8 string in these bytes, or nothing. */
export function textFault(bytes: Buffer, start: number, end: number): string | undefined {
  let isAscii = true
  for (let at = start; at < end; at++) {
    const byte = bytes[at] as number
    if (byte === 0) return '[MQTT-1.5.3-2] U+0000 in a string'
    if (byte > 0x7f) isAscii = false
  }
  // Surrogates and overlong forms are ill-formed UTF-8.
  return isAscii || isUtf8(bytes.subarray(start, end)) ? undefined : '[MQTT-1.5.3-1] a string that is not well-formed UTF-8'
}

/** Of a topic that is published to. */
export function topicFault(bytes: Buffer, start: number, end: number): string | undefined {
  if (start === end) return '[MQTT-4.7.3-1] an empty topic'
  let levels = 1
  let isAscii = true
  for (let at = start; at < end; at++) {
    const byte = bytes[at] as number
    if (byte === 0) return '[MQTT-4.7.3-2] U+0000 in a topic'
    if (byte === PLUS || byte === HASH) return '[MQTT-3.3.2-2] a wildcard in a topic that is published to'
    if (byte === SLASH) levels++
    else if (byte > 0x7f) isAscii = false
  }
  if (levels > MAX_LEVELS) return tooDeep(levels)
  return isAscii ? undefined : textFault(bytes, start, end)
}

/** Of what is subscribed to. */
export function filterFault(bytes: Buffer, start: number, end: number): string | undefined {
  if (start === end) return '[MQTT-4.7.3-1] an empty topic filter'
  let levels = 1
  for (let at = start; at < end; at++) {
    const byte = bytes[at] as number
    if (byte === SLASH) levels++
    if (byte !== PLUS && byte !== HASH) continue
    const fault = wildcardFault(bytes, start, at, end)
    if (fault !== undefined) return fault
  }
  if (levels > MAX_LEVELS) return tooDeep(levels)
  return textFault(bytes, start, end)
}

function wildcardFault(bytes: Buffer, start: number, at: number, end: number): string | undefined {
  const isLast = at + 1 === end
  const isAlone = (at === start || bytes[at - 1] === SLASH) && (isLast || bytes[at + 1] === SLASH)
  if (bytes[at] === PLUS) return isAlone ? undefined : '[MQTT-4.7.1-3] + that is not a whole level of a filter'
  return isAlone && isLast ? undefined : '[MQTT-4.7.1-2] # that is not the whole last level of a filter'
}

/** GHSA-xxqp-5qx8-gj5q: a matcher that throws on them took the process with it. */
function tooDeep(levels: number): string {
  return `a topic of ${levels} levels, at most ${MAX_LEVELS} are taken`
}
