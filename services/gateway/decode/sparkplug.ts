// Sparkplug B: edge nodes and their devices say at birth what they have, then send what changed, and a broker says when they die. Each is a
// device here: `{group}:{node}` and `{group}:{node}:{device}`; each metric is an event type.
import { Type } from 'typebox'
import { Failure, invalid } from '../../../packages/core/failure.ts'
import { type Clock, checkedEvent, type Decoded, decodedFrom, type Found } from './event.ts'
import type { Format, Output, Payload, Reply } from './format.ts'
import { gathered, type Sensed } from './gather.ts'
import { MAX_BATCH, textOf, tooMany } from './json.ts'
import { availability, deviceOf, eventTypeOf } from './measure.ts'
import { type Known, type Learnt, NodeMemory } from './sparkplugmemory.ts'
import { type Metric, readPayload, type SparkplugPayload, TYPES, writePayload } from './sparkplugproto.ts'
import { withTypes } from './sparkplugtype.ts'
import { type Plain, propertyIn, scalarIn, type Value, valueIn } from './sparkplugvalue.ts'

export const sparkplug: Format = {
  name: 'sparkplug',
  version: 3,
  title: 'Sparkplug B edge nodes: births, data and deaths',
  options: Type.Object({
    reorderTimeoutMs: Type.Integer({
      minimum: 0,
      maximum: 60_000,
      default: 0,
      description: 'How long what is missing in the sequence may still come before a rebirth is asked for.',
    }),
  }),
  topics: ['spBv1.0/#'],
  contentTypes: [],
  // A node that comes by another gateway begins with a birth, and the death of its earlier session comes by the one before.
  isLasting: ([, , verb = '']) => verb.endsWith('BIRTH') || verb.endsWith('DEATH'),
  decode: decodeSparkplug,
}

type Verb = 'NBIRTH' | 'NDEATH' | 'DBIRTH' | 'DDEATH' | 'NDATA' | 'DDATA'
type Address = { readonly verb: Verb; readonly group: string; readonly node: string; readonly device: string | undefined }

function decodeSparkplug({ bytes, topic, place, memory, options }: Payload, clock: Clock): Output {
  const address = addressOf(topic)
  if (address === undefined) return { decoded: [] }
  const payload = readPayload(bytes)
  if ((payload.metrics?.length ?? 0) > MAX_BATCH) throw tooMany()
  const timeoutUs = (options['reorderTimeoutMs'] as number) * 1000
  const session = new Session(address, new NodeMemory(memory, address.group, address.node), place.project, clock, timeoutUs)
  return session.take(payload)
}

const OF_NODE: ReadonlySet<string> = new Set(['NBIRTH', 'NDEATH', 'NDATA'])
const OF_DEVICE: ReadonlySet<string> = new Set(['DBIRTH', 'DDEATH', 'DDATA'])
/** Of hosts: none of our business. */
const OF_HOST: ReadonlySet<string> = new Set(['NCMD', 'DCMD'])

function addressOf([, group = '', verb = '', node = '', device, ...rest]: readonly string[]): Address | undefined {
  if (group === 'STATE' || OF_HOST.has(verb)) return undefined
  const isWhole = OF_NODE.has(verb) ? device === undefined : OF_DEVICE.has(verb) && device !== undefined && device !== ''
  if (!isWhole || rest.length > 0 || group === '' || node === '')
    throw invalid(
      'topic',
      'expected spBv1.0/{group}/NBIRTH, NDATA or NDEATH/{node}, or spBv1.0/{group}/DBIRTH, DDATA or DDEATH/{node}/{device}',
    )
  return { verb: verb as Verb, group, node, device }
}

/** Each birth is large: who is asked again and again is asked less and less often. */
const ASK_AGAIN_US = 5_000_000
const MAX_ASK_AGAIN_US = 60_000_000
/** The pause is at its longest. */
const MAX_ASKS = 4
const SEQUENCE = 256

/** One message of a node. */
class Session {
  readonly #address: Address
  readonly #memory: NodeMemory
  readonly #project: string
  readonly #clock: Clock
  readonly #reorderTimeoutUs: number
  readonly #decoded: Decoded[] = []
  readonly #replies: Reply[] = []

  constructor(address: Address, memory: NodeMemory, project: string, clock: Clock, reorderTimeoutUs: number) {
    this.#address = address
    this.#memory = memory
    this.#project = project
    this.#clock = clock
    this.#reorderTimeoutUs = reorderTimeoutUs
  }

  take(payload: SparkplugPayload): Output {
    const { verb, device } = this.#address
    if (verb === 'NBIRTH') this.#nodeBorn(payload)
    else if (verb === 'NDEATH') this.#nodeDied(payload)
    else {
      this.#count(payload)
      if (verb === 'DBIRTH') this.#deviceBorn(payload, device as string)
      else if (verb === 'DDEATH') this.#deviceDied(device as string)
      const isKnown = verb === 'DDEATH' || this.#readings(payload)
      if (!isKnown || this.#memory.state?.isOnline !== true || this.#isGapOld) this.#ask()
    }
    return { decoded: this.#decoded, replies: this.#replies }
  }

  /** Its devices are to be born after it: what their aliases meant before holds no longer. */
  #nodeBorn(payload: SparkplugPayload): void {
    const memory = this.#memory
    const before = memory.state
    const bdSeq = bdSeqIn(payload)
    // By it a birth is known, so no two of a node are alike.
    const bornUs = Math.max(this.#clock.nowUs(), (before?.bornUs ?? 0) + 1)
    const isRebirth = before?.isOnline === true && before.bdSeq === bdSeq
    // Of a session whose death never came nobody is there any more; of one that goes on everybody is.
    if (!isRebirth) this.#gone(memory.onlineDevices, payload)
    const { askedUs, asks } = memory.course
    memory.state = { bdSeq, isOnline: true, sessionUs: isRebirth ? before.sessionUs : bornUs, bornUs }
    memory.course = { bornUs, seq: seqIn(payload) ?? 0, missing: [], gapUs: undefined, askedUs, asks }
    this.#learn(undefined, payload)
    if (before?.isOnline !== true) this.#isThere(undefined, true, payload)
    this.#readings(payload)
  }

  #learn(device: string | undefined, payload: SparkplugPayload): void {
    this.#memory.learn(device, withTypes(learntIn(payload), payload.metrics ?? [], this.#memory.known(device)))
  }

  #deviceBorn(payload: SparkplugPayload, device: string): void {
    const isNew = !this.#memory.isOnline(device)
    this.#learn(device, payload)
    if (isNew) this.#isThere(device, true, payload)
  }

  /** The broker sends it when the connection breaks, which may be long after the next one was opened. */
  #nodeDied(payload: SparkplugPayload): void {
    const { state, onlineDevices } = this.#memory
    const bdSeq = bdSeqIn(payload)
    if (state?.isOnline === false || (state?.bdSeq !== undefined && bdSeq !== undefined && bdSeq !== state.bdSeq)) return
    this.#memory.state = { bdSeq, sessionUs: 0, bornUs: 0, ...state, isOnline: false }
    this.#isThere(undefined, false)
    this.#gone(onlineDevices)
  }

  #deviceDied(device: string): void {
    if (this.#memory.isOnline(device) === false) return
    this.#memory.setDead(device)
    this.#gone([device])
  }

  #gone(devices: readonly string[], payload?: SparkplugPayload): void {
    for (const device of devices) this.#isThere(device, false, payload)
  }

  /** A death was written when its node connected: its own time says nothing. */
  #isThere(device: string | undefined, isOnline: boolean, payload?: SparkplugPayload): void {
    const timeUs = payload && timeIn(payload.timestamp, 'timestamp')
    this.#add({ device: this.#device(device), ...availability(isOnline), timeUs }, `${this.#address.verb} ${device ?? ''}`)
  }

  #device(device: string | undefined): string {
    const { group, node } = this.#address
    return deviceOf([group, node, ...(device === undefined ? [] : [device])].join(':'))
  }

  #add(found: Found, element: string): void {
    this.#decoded.push(decodedFrom(() => checkedEvent(found, this.#project, this.#clock), element))
  }

  /** What comes twice, or after what followed it, is no gap. */
  #count(payload: SparkplugPayload): void {
    const { course } = this.#memory
    const seq = seqIn(payload)
    if (seq === undefined) return
    const last = course.seq ?? seq
    const step = (seq - last + SEQUENCE) % SEQUENCE
    if (step <= 1) {
      this.#memory.course = { ...course, seq }
      return
    }
    const isLate = course.missing.includes(seq)
    const missing = isLate ? course.missing.filter(one => one !== seq) : [...course.missing, ...between(last, step)]
    const gapUs = missing.length === 0 ? undefined : (course.gapUs ?? this.#clock.nowUs())
    this.#memory.course = { ...course, seq: isLate ? last : seq, missing, gapUs }
  }

  get #isGapOld(): boolean {
    const { gapUs } = this.#memory.course
    return gapUs !== undefined && this.#clock.nowUs() - gapUs >= this.#reorderTimeoutUs
  }

  /** What is missing is asked for later where it is too early now. */
  #ask(): void {
    const { group, node } = this.#address
    const nowUs = this.#clock.nowUs()
    const { course } = this.#memory
    const pauseUs = Math.min(ASK_AGAIN_US * 2 ** course.asks, MAX_ASK_AGAIN_US)
    const sinceUs = nowUs - course.askedUs
    if (sinceUs < pauseUs && sinceUs >= 0) return
    const isRepeated = course.askedUs > 0 && sinceUs < 2 * MAX_ASK_AGAIN_US
    this.#memory.course = {
      ...course,
      missing: [],
      gapUs: undefined,
      askedUs: nowUs,
      asks: isRepeated ? Math.min(course.asks + 1, MAX_ASKS) : 0,
    }
    const timestamp = String(Math.floor(nowUs / 1000))
    const rebirth = { name: 'Node Control/Rebirth', timestamp, datatype: TYPES.Boolean, booleanValue: true }
    this.#replies.push({ topic: `spBv1.0/${group}/NCMD/${node}`, payload: writePayload({ timestamp, metrics: [rebirth] }) })
  }

  /** Whether each was known by its name or alias. */
  #readings(payload: SparkplugPayload): boolean {
    const { device } = this.#address
    const known = this.#memory.known(device)
    const sensed: Sensed[] = []
    let isKnown = this.#memory.isBorn(device)
    for (const metric of payload.metrics ?? []) {
      try {
        const born = known(metric)
        isKnown &&= born !== undefined || isOurs(metric.name)
        this.#reading(metric, payload, born, sensed)
      } catch (error) {
        if (!(error instanceof Failure)) throw error
        this.#decoded.push({ failure: error, element: shown(metric) })
      }
    }
    this.#decoded.push(...gathered(sensed, this.#project, this.#clock))
    return isKnown
  }

  #reading(metric: Metric, payload: SparkplugPayload, born: Known | undefined, sensed: Sensed[]): void {
    const name = metric.name ?? born?.name
    if (name === undefined)
      throw invalid(
        'metrics',
        `the alias ${metric.alias ?? 'that is missing'} was named by no birth of this session; the node is asked for one`,
      )
    if (isOurs(name) || metric.templateValue?.isDefinition === true) return
    const value = valueIn(metric, metric.datatype ?? born?.type, name.slice(0, 100))
    if (value === undefined) return
    const place = { device: this.#device(this.#address.device), timeUs: timeIn(metric.timestamp ?? payload.timestamp, name.slice(0, 100)) }
    const fields = fieldsOf(metric)
    if (!isPlain(value)) this.#add({ ...place, ...whole(name, born?.eventType, value, fields) }, shown(metric))
    else
      sensed.push({
        ...place,
        measure: { name, value, unit: unitOf(metric) ?? born?.unit, eventType: born?.eventType },
        fields,
        element: metric.bytesValue ? shown(metric) : metric,
      })
  }
}

/** About the session, not about what was measured. */
function isOurs(name: string | undefined): boolean {
  return name !== undefined && (name === 'bdSeq' || name.startsWith('Node Control/'))
}

function isPlain(value: Value): value is Plain {
  return typeof value !== 'object'
}

function isList(value: Value): value is readonly unknown[] {
  return Array.isArray(value)
}

function whole(name: string, eventType = eventTypeOf(name), value: Exclude<Value, Plain>, fields: Sensed['fields']) {
  return { eventType, data: { [eventType]: isList(value) ? { value, ...fields } : { ...value, ...fields } } }
}

const MAX_NAME_CHARS = 256

/** What a birth says of its metrics. */
function learntIn({ metrics = [] }: SparkplugPayload): Learnt[] {
  return metrics.flatMap(metric => {
    const { name, alias, datatype } = metric
    if (name === undefined || isOurs(name)) return []
    if (name.length > MAX_NAME_CHARS)
      throw invalid('metrics', `a name of at most ${MAX_NAME_CHARS} characters expected, got ${name.slice(0, 50)}…`)
    return [{ name, alias, type: datatype, unit: unitOf(metric) }]
  })
}

/** As Ignition and others call it; the specification leaves the names of properties open. */
function unitOf({ properties }: Metric): string | undefined {
  const unit = properties && propertyIn(properties, 'engunit', 'engunits', 'engineering units', 'unit', 'units')
  return typeof unit === 'string' && unit !== '' ? unit.slice(0, 64) : undefined
}

/** Sparkplug 3.0, 6.4.9.1. */
const QUALITIES: Readonly<Record<string, string>> = { 0: 'BAD', 500: 'STALE' }

function fieldsOf({ properties, isHistorical, isTransient, metadata }: Metric): Sensed['fields'] {
  const quality = properties && QUALITIES[String(propertyIn(properties, 'quality'))]
  const fields = {
    ...(quality === undefined ? {} : { quality }),
    ...(isHistorical === true ? { isBackfilled: true } : {}),
    ...(isTransient === true ? { isTransient: true } : {}),
    ...(metadata?.fileName === undefined ? {} : { fileName: metadata.fileName }),
  }
  return Object.keys(fields).length === 0 ? undefined : fields
}

/** The numbers between one and the one so many steps on. */
function between(last: number, step: number): readonly number[] {
  return Array.from({ length: Math.max(0, step - 1) }, (_, i) => (last + 1 + i) % SEQUENCE)
}

function timeIn(ms: string | undefined, field: string): number | undefined {
  if (ms === undefined || ms === '0') return undefined
  const timeUs = Number(ms) * 1000
  if (!Number.isSafeInteger(timeUs)) throw invalid(field, 'expected a time in milliseconds since 1970')
  return timeUs
}

function seqIn({ seq }: SparkplugPayload): number | undefined {
  if (seq === undefined) return undefined
  if (Number(seq) >= SEQUENCE) throw invalid('seq', `expected 0 to 255, got ${seq}`)
  return Number(seq)
}

function bdSeqIn({ metrics = [] }: SparkplugPayload): string | undefined {
  const metric = metrics.find(({ name }) => name === 'bdSeq')
  const value = metric && scalarIn(metric, metric.datatype, 'bdSeq')
  return value === undefined ? undefined : String(value)
}

/** Without what may be large. */
function shown(metric: Metric): string {
  return textOf({ ...metric, bytesValue: undefined, datasetValue: undefined, templateValue: undefined })
}
