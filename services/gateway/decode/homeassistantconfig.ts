// What a Home Assistant announcement says (home-assistant.io, MQTT: discovery), made entities: on which topic something of which device
// stands, by what template, in which unit.
import { Failure, invalid } from '../../../packages/core/failure.ts'
import { eventTypeOf, isKnown } from './measure.ts'
import { parseTemplate, type Template } from './template.ts'
import { type Fields, isObject } from './text.ts'

export type Entity = {
  readonly topic: string
  /** `state`: yes or no by words; `availability`: of the device. */
  readonly kind: 'value' | 'state' | 'availability'
  readonly device: string
  /** Its own name within the device. */
  readonly key: string
  readonly name: string
  readonly unit?: string | undefined
  readonly template?: Template | undefined
  readonly yes?: string | undefined
  readonly no?: string | undefined
}

export type Announced = { readonly entities: readonly Entity[]; readonly failures: readonly Failure[] }

/** The short names that constrained devices use, of the fields that are read here. */
const LONG: Readonly<Record<string, string>> = {
  avty: 'availability',
  avty_t: 'availability_topic',
  avty_tpl: 'availability_template',
  cmps: 'components',
  cns: 'connections',
  curr_hum_t: 'current_humidity_topic',
  curr_hum_tpl: 'current_humidity_template',
  curr_temp_t: 'current_temperature_topic',
  curr_temp_tpl: 'current_temperature_template',
  dev: 'device',
  dev_cla: 'device_class',
  ent_cat: 'entity_category',
  ids: 'identifiers',
  p: 'platform',
  pl_avail: 'payload_available',
  pl_not_avail: 'payload_not_available',
  pl_off: 'payload_off',
  pl_on: 'payload_on',
  pos_clsd: 'position_closed',
  pos_open: 'position_open',
  pos_t: 'position_topic',
  pos_tpl: 'position_template',
  stat_off: 'state_off',
  stat_on: 'state_on',
  stat_t: 'state_topic',
  stat_val_tpl: 'state_value_template',
  t: 'topic',
  temp_unit: 'temperature_unit',
  unit_of_meas: 'unit_of_measurement',
  uniq_id: 'unique_id',
  val_tpl: 'value_template',
}

const MAX_COMPONENTS = 200
const MAX_TEXT = 256
const MAX_TOPIC = 400

/** @param path levels between the prefix and `config`. @throws Failure when nothing in it can be used. */
export function announced(path: readonly string[], config: Fields, deviceBy: 'identifier' | 'name'): Announced {
  const [component = '', ...ids] = path
  const whole = expanded(config)
  const device = deviceIn(whole, ids, deviceBy)
  const components = component === 'device' ? componentsIn(whole) : [[ids.at(-1) ?? '', component, whole] as const]
  const entities: Entity[] = []
  const failures: Failure[] = []
  for (const [key, platform, fields] of components) {
    try {
      entities.push(...entitiesOf(device, key, platform, fields))
    } catch (error) {
      if (!(error instanceof Failure)) throw error
      failures.push(new Failure(error.code, `${key}: ${error.message}`, { field: error.field ?? 'payload' }))
    }
  }
  return { entities, failures }
}

function componentsIn(whole: Fields): (readonly [key: string, platform: string, fields: Fields])[] {
  const components = whole['components']
  if (!isObject(components)) throw invalid('components', 'expected an object of components')
  const list = Object.entries(components)
  if (list.length > MAX_COMPONENTS) throw new Failure('too_large', `components: at most ${MAX_COMPONENTS}, got ${list.length}`)
  return list.map(([key, fields]) => {
    const own = isObject(fields) ? expanded(fields) : {}
    return [key, typeof own['platform'] === 'string' ? own['platform'] : '', { ...whole, ...own }] as const
  })
}

/** With long names, and `~` replaced where a topic begins or ends with it. */
function expanded(fields: Fields): Fields {
  const base = fields['~']
  const entries = Object.entries(fields).map(([key, value]) => {
    const long = Object.hasOwn(LONG, key) ? (LONG[key] as string) : key
    return [long, typeof base === 'string' && long.endsWith('topic') && typeof value === 'string' ? rebased(value, base) : value] as const
  })
  const named = Object.fromEntries(entries)
  const { availability, device } = named
  if (isObject(device)) named['device'] = expanded(device)
  const list = Array.isArray(availability) ? availability : isObject(availability) ? [availability] : []
  if (list.length > 0) named['availability'] = list.filter(isObject).map(one => expanded({ '~': base, ...one }))
  return named
}

function rebased(topic: string, base: string): string {
  if (topic.startsWith('~')) return `${base}${topic.slice(1)}`
  return topic.endsWith('~') ? `${topic.slice(0, -1)}${base}` : topic
}

function deviceIn(whole: Fields, ids: readonly string[], by: 'identifier' | 'name'): string {
  const device = isObject(whole['device']) ? whole['device'] : {}
  const { identifiers, connections, name } = device
  const identifier = firstText(identifiers) ?? firstText(Array.isArray(connections) ? (connections[0] as unknown[])?.[1] : undefined)
  const found = by === 'name' ? (firstText(name) ?? identifier) : (identifier ?? firstText(name))
  return (found ?? ids[0] ?? '').slice(0, MAX_TEXT)
}

function firstText(value: unknown): string | undefined {
  const first = Array.isArray(value) ? value[0] : value
  if (typeof first === 'number') return String(first)
  return typeof first === 'string' && first !== '' ? first : undefined
}

const VALUES: ReadonlySet<string> = new Set(['sensor', 'number', 'select', 'text', 'cover', 'valve', 'device_tracker'])
const SWITCHES: ReadonlySet<string> = new Set(['binary_sensor', 'switch', 'light', 'fan', 'siren', 'humidifier', 'lock'])

/** None of what only takes orders: buttons, scenes, cameras. */
function entitiesOf(device: string, key: string, platform: string, fields: Fields): Entity[] {
  const entities: Entity[] = []
  const topic = topicIn(fields, 'state_topic')
  if (topic !== undefined && VALUES.has(platform)) entities.push({ ...readingOf(device, key, fields), topic })
  if (topic !== undefined && SWITCHES.has(platform)) entities.push({ ...switchOf(device, key, platform, fields), topic })
  if (topic !== undefined && platform === 'event') entities.push({ ...eventOf(device, key, fields), topic })
  const position = topicIn(fields, 'position_topic')
  if (position !== undefined && VALUES.has(platform)) entities.push({ ...positionOf(device, key, fields), topic: position })
  for (const name of ['temperature', 'humidity'] as const) {
    const current = topicIn(fields, `current_${name}_topic`)
    const template = templateIn(fields, `current_${name}_template`)
    const unit = name === 'temperature' ? textIn(fields, 'temperature_unit') : undefined
    if (current !== undefined) entities.push({ topic: current, kind: 'value', device, key: `${key}_${name}`, name, unit, template })
  }
  const there = entities.length > 0 ? availabilityOf(device, fields) : undefined
  return there ? [...entities, there] : entities
}

function topicIn(fields: Fields, field: string): string | undefined {
  const topic = fields[field]
  if (topic === undefined || topic === null || topic === '') return undefined
  const isTopic = typeof topic === 'string' && topic.length <= MAX_TOPIC && !topic.includes('\u0000') && isNamed(topic)
  // Those are ways to be an event, and have a meaning of their own.
  if (!isTopic || /^(\$|projects\/|d\/)/.test(topic)) throw invalid(field, 'expected a topic of the project, without # and not of + alone')
  return topic
}

/** `+` may stand for a level, as where any of some gateways may have heard a sensor. */
function isNamed(topic: string): boolean {
  const levels = topic.split('/')
  return levels.every(level => level === '+' || !/[+#]/.test(level)) && levels.some(level => level !== '+' && level !== '')
}

function textIn(fields: Fields, field: string): string | undefined {
  const value = fields[field]
  if (value === undefined || value === null || value === '') return undefined
  if (typeof value !== 'string' || value.length > MAX_TEXT) throw invalid(field, `expected a text of at most ${MAX_TEXT} characters`)
  return value
}

function templateIn(fields: Fields, field: string): Template | undefined {
  const text = fields[field]
  if (text === undefined || text === null || text === '') return undefined
  if (typeof text !== 'string') throw invalid(field, 'expected a template')
  return parseTemplate(text)
}

/** Where its classes and the vocabulary differ. */
const CLASSES: Readonly<Record<string, string>> = {
  carbon_dioxide: 'co2',
  gas: 'gasVolume',
  volume_storage: 'volume',
  water: 'volume',
  signal_strength: 'rssi',
  sound_pressure: 'soundLevel',
  weight: 'mass',
}

type Unplaced = Omit<Entity, 'topic'>

function readingOf(device: string, key: string, fields: Fields): Unplaced {
  const unit = textIn(fields, 'unit_of_measurement')
  const given = textIn(fields, 'device_class')
  const isOfDevice = given === 'temperature' && fields['entity_category'] === 'diagnostic'
  const named = isOfDevice ? 'deviceTemperature' : given !== undefined && Object.hasOwn(CLASSES, given) ? CLASSES[given] : given
  const name = named !== undefined && isKnown({ name: named, value: 0.5 }) ? named : eventTypeOf(key)
  return { kind: 'value', device, key, name, unit, template: templateIn(fields, 'value_template') }
}

function eventOf(device: string, key: string, fields: Fields): Unplaced {
  const given = templateIn(fields, 'value_template') ?? { is: 'path', keys: [] }
  const template: Template = given.is === 'path' ? { is: 'path', keys: [...given.keys, 'event_type'] } : given
  return { kind: 'value', device, key, name: 'action', template }
}

/** Percent open, on whichever scale it was announced. */
function positionOf(device: string, key: string, fields: Fields): Unplaced {
  const { position_open: open = 100, position_closed: closed = 0 } = fields
  const given = templateIn(fields, 'position_template') ?? templateIn(fields, 'value_template')
  const whole: Unplaced = { kind: 'value', device, key: `${key}_position`, name: 'position', unit: '%', template: given }
  if (typeof open !== 'number' || typeof closed !== 'number') throw invalid('position_open', 'expected a number')
  if (open === closed || (open === 100 && closed === 0)) return whole
  const [from, scale] = [closed, 100 / (open - closed)].map(value => ({ is: 'constant', value }) as const)
  const above: Template = { is: 'operator', sign: '-', left: given ?? { is: 'text' }, right: from as Template }
  return { ...whole, template: { is: 'operator', sign: '*', left: above, right: scale as Template } }
}

function switchOf(device: string, key: string, platform: string, fields: Fields): Unplaced {
  const isSensor = platform === 'binary_sensor'
  const given = isSensor ? textIn(fields, 'device_class') : undefined
  const named = isSensor ? given : platform === 'lock' ? 'lock' : 'switch'
  const name = named !== undefined && isKnown({ name: named, value: true }) ? named : eventTypeOf(key)
  const [on, off] = platform === 'lock' ? (['UNLOCKED', 'LOCKED'] as const) : (['ON', 'OFF'] as const)
  const template = templateIn(fields, 'value_template') ?? templateIn(fields, 'state_value_template') ?? jsonState(fields)
  const [yes, no] = [wordIn(fields, ['state_on', 'payload_on']) ?? on, wordIn(fields, ['state_off', 'payload_off']) ?? off]
  return { kind: 'state', device, key, name, template, yes, no }
}

function jsonState(fields: Fields): Template | undefined {
  return fields['schema'] === 'json' ? { is: 'path', keys: ['state'] } : undefined
}

function wordIn(fields: Fields, names: readonly string[]): string | undefined {
  const value = names.map(name => fields[name]).find(one => one !== undefined && one !== null)
  if (typeof value === 'boolean' || typeof value === 'number') return String(value)
  return typeof value === 'string' && value.length <= MAX_TEXT ? value : undefined
}

/** Of several topics the last is the nearest to the device; the first is often that of its bridge. */
function availabilityOf(device: string, fields: Fields): Entity | undefined {
  const list = fields['availability']
  const last = Array.isArray(list) ? (list.at(-1) as Fields) : undefined
  const topic = last ? topicIn(last, 'topic') : topicIn(fields, 'availability_topic')
  if (topic === undefined) return undefined
  const template = last ? templateIn(last, 'value_template') : templateIn(fields, 'availability_template')
  const said = last ?? fields
  const [yes, no] = [wordIn(said, ['payload_available']) ?? 'online', wordIn(said, ['payload_not_available']) ?? 'offline']
  return { topic, kind: 'availability', device, key: 'availability', name: 'availability', template, yes, no }
}
