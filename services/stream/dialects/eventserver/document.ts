// What a producer records: checked field by field, kept as it was written, and given out with its id inside (contracts.md 4.a.1, 4.a.2).
import { isUtf8 } from 'node:buffer'
import { invalid } from '../../../../packages/core/failure.ts'
import { repeatedKey, valueAt } from '../../../../packages/core/json.ts'
import { checkMessageWord } from '../../../../packages/core/stream.ts'
import { parseTime } from '../../../../packages/core/time.ts'

/** Longer ones have no column in the original. */
export const MAX_NAME_CHARS = 255

type Fields = Readonly<Record<string, unknown>>

/** The name of the event in a document. @throws Failure `invalid` that names the field. */
export function checkDocument(bytes: Buffer): string {
  if (!isUtf8(bytes)) throw invalid('body', 'expected UTF-8')
  const document = parse(bytes.toString('utf8'))
  if (Object.hasOwn(document, 'eventId')) throw invalid('eventId', 'it is given by the server')
  const event = section(document, 'event')
  if (Object.hasOwn(event, 'id')) throw invalid('event.id', 'it is given by the server')
  const name = text(event, 'event', 'name')
  if (name.length > MAX_NAME_CHARS) throw invalid('event.name', `at most ${MAX_NAME_CHARS} characters`)
  checkMessageWord(name, 'event.name')
  const { version } = event
  if (!Number.isSafeInteger(version) || (version as number) < 1) throw invalid('event.version', 'expected a whole number from 1')
  checkSystem(section(document, 'system'))
  const trigger = section(document, 'trigger')
  text(trigger, 'trigger', 'type')
  text(trigger, 'trigger', 'name')
  section(document, 'payload')
  return name
}

function parse(json: string): Fields {
  let document: unknown
  try {
    document = JSON.parse(json)
  } catch (error) {
    throw invalid('body', `not JSON: ${(error as Error).message}`)
  }
  if (!isFields(document)) throw invalid('body', 'expected an object')
  const repeated = repeatedKey(json)
  if (repeated !== undefined) throw invalid('body', `the key ${JSON.stringify(repeated.slice(0, 100))} is given twice in one object`)
  return document
}

function checkSystem(system: Fields): void {
  text(system, 'system', 'id')
  text(system, 'system', 'name')
  if (!isTime(text(system, 'system', 'time'))) throw invalid('system.time', 'expected a time such as 2025-03-02 06:41:09')
  if (!isZone(text(system, 'system', 'timezone'))) throw invalid('system.timezone', 'expected a name such as Europe/Oslo')
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function section(document: Fields, name: string): Fields {
  const value = Object.hasOwn(document, name) ? document[name] : undefined
  if (!isFields(value)) throw invalid(name, value === undefined ? 'expected an object, but it is missing' : 'expected an object')
  return value
}

function text(fields: Fields, path: string, name: string): string {
  const value = Object.hasOwn(fields, name) ? fields[name] : undefined
  if (typeof value !== 'string' || value === '')
    throw invalid(`${path}.${name}`, value === undefined ? 'expected a text, but it is missing' : 'expected a text that is not empty')
  return value
}

/** ISO 8601 as Python reads it: a date alone, or with hours and all that may follow them. */
const TIME = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(:\d\d(?:\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)?)?$/

function isTime(given: string): boolean {
  const [, date, minutes = '00:00', seconds = ':00', offset = 'Z'] = TIME.exec(given) ?? []
  return date !== undefined && parseTime(`${date}T${minutes}${seconds}${offset}`) !== undefined
}

/** The usual ones: to ask for one costs ten times what all else here does. */
const ZONES: ReadonlySet<string> = new Set(Intl.supportedValuesOf('timeZone'))
/** Offsets are no names of places, though some engines take them. */
const ZONE = /^[A-Za-z]/

/** Also by an older name, or in another case. */
function isZone(name: string): boolean {
  if (ZONES.has(name)) return true
  if (!ZONE.test(name)) return false
  try {
    new Intl.DateTimeFormat('en', { timeZone: name })
    return true
  } catch (error) {
    if (error instanceof RangeError) return false
    throw error
  }
}

/**
 * The document as it was written, with the id where readers of either original look for it. A payload of this name that came by another
 * way, and is no such document, is put into one.
 */
export function withId(payload: Buffer, name: string, id: string): string {
  const given = payload.toString('utf8')
  const document = tryParse(given)
  const event = isRecorded(document) ? valueAt(given, 'event') : undefined
  if (event === undefined) {
    const content = isFields(document) ? document : { value: document ?? given }
    return JSON.stringify({ eventId: id, event: { id, name, version: 1 }, payload: content })
  }
  const start = given.indexOf('{')
  const [before, within] = [given.slice(start + 1, event + 1), given.slice(event + 1)]
  return `{"eventId":"${id}",${before}"id":"${id}",${within}`
}

function isRecorded(document: unknown): boolean {
  if (!isFields(document) || Object.hasOwn(document, 'eventId')) return false
  const event = Object.hasOwn(document, 'event') ? document['event'] : undefined
  return isFields(event) && Object.hasOwn(event, 'name') && !Object.hasOwn(event, 'id')
}

function tryParse(json: string): unknown {
  try {
    return JSON.parse(json)
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}
