// Home Assistant MQTT discovery: announcements on `homeassistant/…/config` are remembered, and what comes on the topics that they name is
// decoded, whatever these are called. Where a mapping of its own is for such a topic, that one decodes it.
import { Type } from 'typebox'
import { Failure } from '../../../packages/core/failure.ts'
import { contentKey } from '../../../packages/core/id.ts'
import type { Clock } from './event.ts'
import { type Format, GROUP, type Memory, type Output, type Payload } from './format.ts'
import { announced, type Entity } from './homeassistantconfig.ts'
import { availability, channelOf, deviceOf, isKnown } from './measure.ts'
import { Parts } from './part.ts'
import { NUMBER_NAMES, plainName, STATE_NAMES } from './quantity.ts'
import { Rendering } from './template.ts'
import { ABSENT, isScalar, objectOf, scalarOf, textOf } from './text.ts'

const NOTHING: Output = { decoded: [] }

/** Entities of a project, and on one topic: a bridge says much of one device on one, and one word of all its devices on another. */
const MAX_ENTITIES = 3000
const MAX_ON_TOPIC = 500
const MAX_PATH_CHARS = 400

export const homeassistant: Format = {
  name: 'homeassistant',
  version: 3,
  title: 'Home Assistant MQTT discovery: whatever announces itself',
  options: Type.Object({
    discoveryPrefix: Type.String({ default: 'homeassistant', description: 'As in the settings of Home Assistant.' }),
    deviceBy: Type.Union([Type.Literal('identifier'), Type.Literal('name')], {
      default: 'identifier',
      description: 'What becomes the id of a device: its first identifier, or its name, which two devices may share.',
    }),
  }),
  topics: ['homeassistant/#'],
  contentTypes: [],
  claims: (topic, memory) => namesOf(topic, memory).some(name => memory.entries(topicKey(name)).length > 0),
  decode(payload, clock) {
    const { topic, options } = payload
    const prefix = (options['discoveryPrefix'] as string).split('/')
    const isConfig = topic.length >= prefix.length + 3 && topic.at(-1) === 'config' && prefix.every((level, i) => topic[i] === level)
    return isConfig ? learn(payload, topic.slice(prefix.length, -1)) : states(payload, clock)
  },
}

/** Kept of an announcement: what it was, by which it is known again, and where its entities are. */
type Announcement = { readonly hash: string; readonly topics: readonly string[]; readonly count: number; readonly types: readonly string[] }
type Kept = Entity & { readonly config: string }

/** With the path of the announcement. */
const CONFIG = `config${GROUP}`

/** Each announcement has an entry of its own on each of its topics: two gateways learn of one topic at the same time. */
function topicKey(topic: string, config?: string): string {
  return `topic/${topic}${GROUP}${config === undefined ? '' : contentKey(config)}`
}

function learn({ bytes, memory, options }: Payload, path: readonly string[]): Output {
  const config = path.join('/')
  const before = memory.get(CONFIG + config) as Announcement | undefined
  if (bytes.length === 0) {
    if (before) forget(config, before, memory)
    return NOTHING
  }
  if (config.length > MAX_PATH_CHARS) throw new Failure('too_large', `topic: at most ${MAX_PATH_CHARS} characters, got ${config.length}`)
  const text = textOf(bytes)
  const hash = contentKey(`${options['deviceBy'] as string}\t${text}`)
  const { entities, failures } = announced(path, objectOf(text), options['deviceBy'] as 'identifier' | 'name')
  if (before?.hash === hash && entities.every(entity => stands(entity, config, memory))) return NOTHING
  if (before) forget(config, before, memory)
  const count = announcedIn(memory)
  if (count + entities.length > MAX_ENTITIES)
    throw new Failure('too_large', `entities: at most ${MAX_ENTITIES} in a project, of which ${count} are announced`)
  checkRoom(entities, memory)
  learnPatterns(entities, memory)
  const owned = entities.map(entity => ({ ...entity, config, device: ownDevice(entity, config, memory) }))
  const topics = [...new Set(owned.map(({ topic }) => topic))]
  const kept = topics.flatMap(topic =>
    place(
      topic,
      config,
      owned.filter(one => one.topic === topic),
      memory,
    ),
  )
  const types = kept.flatMap(entity => ownedType(entity, config, memory))
  if (kept.length > 0) memory.set(CONFIG + config, { hash, topics, count: kept.length, types })
  return { decoded: failures.map(failure => ({ failure, element: text })) }
}

/**
 * Two entities of one type in one device are two series: the first announced has the device, the others are devices beside it. What is
 * announced anew finds its place again.
 */
function ownDevice(entity: Entity, config: string, memory: Memory): string {
  const device = deviceOf(entity.device)
  if (entity.kind === 'availability') return device
  const key = ownerKey(device, entity)
  const owner = memory.get(key)
  const own = `${config}\t${entity.key}`
  if (owner === undefined) memory.set(key, own)
  return owner === undefined || owner === own ? device : channelOf(device, entity.key)
}

function ownerKey(device: string, { name, kind }: Entity): string {
  const table = kind === 'state' ? STATE_NAMES : NUMBER_NAMES
  return `owner/${device}/${table.get(plainName(name))?.eventType ?? name}`
}

function ownedType(entity: Kept, config: string, memory: Memory): string[] {
  const key = ownerKey(entity.device, entity)
  return memory.get(key) === `${config}\t${entity.key}` ? [key] : []
}

function checkRoom(entities: readonly Entity[], memory: Memory): void {
  for (const topic of new Set(entities.map(one => one.topic)))
    if (entitiesOn(topic, memory).length + entities.filter(one => one.topic === topic).length > MAX_ON_TOPIC)
      throw new Failure('too_large', `state_topic: at most ${MAX_ON_TOPIC} entities on one topic, ${topic.slice(0, 100)}`)
}

/** @returns those that are new. Every entity of a device repeats where its availability stands. */
function place(topic: string, config: string, entities: readonly Kept[], memory: Memory): readonly Kept[] {
  // What a key announced by this name is seen by a device that announces it for itself, and it cannot take that back.
  const there = entitiesOn(topic, memory).filter(one => one.config !== config)
  const devices = new Set(there.flatMap(one => (one.kind === 'availability' ? [one.device] : [])))
  const placed = entities.filter(({ kind, device }) => {
    if (kind !== 'availability') return true
    const isNew = !devices.has(device)
    devices.add(device)
    return isNew
  })
  if (placed.length > 0) memory.set(topicKey(topic, config), placed)
  return placed
}

/** All of it may be known, and some of it gone: with the announcement that said first who is there. */
function stands({ topic, kind, key, device }: Entity, config: string, memory: Memory): boolean {
  const own = deviceOf(device)
  if (!isPatternKnown(topic, memory)) return false
  return entitiesOn(topic, memory).some(one =>
    kind === 'availability' ? one.kind === kind && one.device === own : one.config === config && one.key === key && one.kind === kind,
  )
}

function entitiesOn(topic: string, memory: Memory): readonly Kept[] {
  const all = memory.entries(topicKey(topic)) as readonly (readonly [string, readonly Kept[]])[]
  return all.length === 1 ? (all[0]?.[1] ?? []) : all.flatMap(([, entities]) => entities)
}

function forget(config: string, { topics, types }: Announcement, memory: Memory): void {
  for (const topic of topics) memory.set(topicKey(topic, config), undefined)
  for (const type of types) memory.set(type, undefined)
  memory.set(CONFIG + config, undefined)
  if (topics.some(topic => topic.includes('+'))) dropPatterns(memory, [])
}

function announcedIn(memory: Memory): number {
  return memory.entries(CONFIG).reduce((sum, [, one]) => sum + (one as Announcement).count, 0)
}

/** Ways in which `+` stands in announced topics, `4 0,1`: so many levels, and which of them. */
const MAX_PATTERNS = 16

const PATTERN = `pattern${GROUP}`

function learnPatterns(entities: readonly Entity[], memory: Memory): void {
  for (const { topic } of entities) if (topic.includes('+')) memory.set(PATTERN + patternOf(topic), true)
  if (memory.entries(PATTERN).length > MAX_PATTERNS) dropPatterns(memory, entities)
  if (memory.entries(PATTERN).length > MAX_PATTERNS)
    throw new Failure('too_large', `state_topic: at most ${MAX_PATTERNS} ways to place + in topics`, { field: 'state_topic' })
}

/** Those that no announcement needs any more. @param entities of one that is not known yet. */
function dropPatterns(memory: Memory, entities: readonly Entity[]): void {
  const announced = memory.entries(CONFIG).flatMap(([, one]) => (one as Announcement).topics)
  const topics = [...announced, ...entities.map(({ topic }) => topic)]
  const needed = new Set(topics.flatMap(topic => (topic.includes('+') ? [PATTERN + patternOf(topic)] : [])))
  for (const [key] of memory.entries(PATTERN)) if (!needed.has(key)) memory.set(key, undefined)
}

function isPatternKnown(topic: string, memory: Memory): boolean {
  return !topic.includes('+') || memory.get(PATTERN + patternOf(topic)) !== undefined
}

function patternOf(topic: string): string {
  const levels = topic.split('/')
  return `${levels.length} ${levels.flatMap((level, i) => (level === '+' ? [i] : [])).join()}`
}

/** By what entities of a topic may be announced: itself, and as it would be with `+`. */
function namesOf(topic: string, memory: Memory): string[] {
  const patterns = memory.entries(PATTERN)
  if (patterns.length === 0) return [topic]
  const levels = topic.split('/')
  const others = patterns.flatMap(([key]) => {
    const [count, places = ''] = key.slice(PATTERN.length).split(' ')
    const plus = new Set(places.split(',').map(Number))
    return Number(count) === levels.length ? [levels.map((level, i) => (plus.has(i) ? '+' : level)).join('/')] : []
  })
  return [topic, ...others]
}

function states({ topic, bytes, memory, place: { project } }: Payload, clock: Clock): Output {
  const entities = namesOf(topic.join('/'), memory).flatMap(name => entitiesOn(name, memory))
  if (entities.length === 0 || bytes.length === 0) return NOTHING
  const text = textOf(bytes)
  const rendering = new Rendering(text)
  const parts = new Parts()
  for (const entity of onceAvailable(entities)) found(parts, entity, rendering, text)
  return { decoded: parts.reported(undefined, project, clock, text) }
}

/**
 * Whether a device is there, once: two gateways that learn of it at the same time both keep it, and a sensor of it on the same topic says what
 * the availability says.
 */
function onceAvailable(entities: readonly Kept[]): readonly Kept[] {
  const told = new Map<string, Kept>()
  for (const one of entities) if (one.kind === 'availability' && !told.has(one.device)) told.set(one.device, one)
  if (told.size === 0) return entities
  return entities.filter(one =>
    one.kind === 'availability' ? told.get(one.device) === one : !told.has(one.device) || !isAvailability(one),
  )
}

/** As the states of Home Assistant itself. */
const MAX_TEXT = 255

function isAvailability({ name }: Entity): boolean {
  return STATE_NAMES.get(plainName(name))?.eventType === 'availability'
}

function found(parts: Parts, entity: Kept, rendering: Rendering, text: string): void {
  const { device, kind, name, unit, template } = entity
  const rendered = template ? rendering.render(template) : scalarOf(text)
  const value = typeof rendered === 'string' ? scalarOf(rendered) : rendered
  if (!isScalar(value) || (typeof value === 'string' && (value.length > MAX_TEXT || ABSENT.has(value.toLowerCase())))) return
  if (kind === 'value') {
    parts.measure(device, { name, value, unit: typeof value === 'number' ? unit : undefined })
    return
  }
  const isYes = truth(entity, value)
  if (isYes === undefined) return
  if (kind === 'availability') parts.event(device, availability(isYes))
  else parts.measure(device, isKnown({ name, value: isYes }) ? { name, value: isYes } : { name, value: isYes ? 'ON' : 'OFF' })
}

function truth({ yes, no }: Entity, value: string | number | boolean): boolean | undefined {
  const word = String(value).toLowerCase()
  return word === yes?.toLowerCase() ? true : word === no?.toLowerCase() ? false : undefined
}
