// MQTT topics: where short ones belong, which are ingest, and which a key or a device may publish or subscribe to.
import { type Caller, isPartOf } from '../../../packages/identity/identity.ts'
import type { Place } from '../decode/event.ts'

/** In a stream topic: every project that the caller may see. */
const ALL = '-'

/**
 * Each project has a space of its own for topics that name none, so that what people run already (`zigbee2mqtt/…`, `tele/…`) works with
 * any key and meets nobody else's (docs/decisions/0023). A filter that begins with a wildcard is not short: it could mean all projects.
 */
export function isShort(topic: string): boolean {
  return !/^(projects\/|d\/|\$|\+|#)|^$/.test(topic)
}

/** The long form of a short topic or filter; as it is: one that is long, or short without a project to belong to. */
export function mounted(topic: string, project: string): string {
  return project !== '' && isShort(topic) ? `projects/${project}/topics/${topic}` : topic
}

/** What a client that used the short form gets to see. */
export function unmounted(topic: string): string {
  return /^projects\/[^/]+\/topics\/(.+)$/s.exec(topic)?.[1] ?? topic
}

/**
 * `projects/{project}/devices/{device}/events[/{eventType}]`, or `d/{device}/{eventType}` in the key's own project, if it has one;
 * undefined for every other topic. Names are checked by the decoder.
 */
export function ingestPlace(topic: string, home: string): Place | undefined {
  if (topic.startsWith('d/')) {
    const short = shortIngest(topic)
    // Of no project: whoever took it had nowhere to keep it.
    return short && home !== '' ? { project: home, ...short } : undefined
  }
  if (!topic.startsWith('projects/')) return undefined
  const [, project, devices, device, events, eventType, ...rest] = topic.split('/')
  if (project === undefined || devices !== 'devices' || events !== 'events' || rest.length > 0) return undefined
  return { project, device, eventType }
}

function shortIngest(topic: string): { readonly device: string | undefined; readonly eventType: string } | undefined {
  const [, device, eventType, ...rest] = topic.split('/')
  return rest.length === 0 && eventType !== undefined ? { device, eventType } : undefined
}

/** What a stream topic asks for; the query is as over HTTP. */
export type StreamTopic = {
  readonly project: string
  readonly subject: 'event' | 'alarm'
  readonly device: string | undefined
  readonly query: string
}

/** `projects/{project}/devices:stream`, `…/devices/{device}:stream` or `…/alarms:stream`, each with `?{query}` or without. */
export function streamTopic(topic: string): StreamTopic | undefined {
  const match = /^projects\/([^/?]+)\/(?:(devices|alarms)|devices\/([^/?]+)):stream(?:\?(.*))?$/s.exec(topic)
  if (!match) return undefined
  const [, project = '', list, device, query = ''] = match
  return { project, subject: list === 'alarms' ? 'alarm' : 'event', device, query }
}

/** Ordinary broker traffic: not the broker's own `$` topics, not what Telltale announces, not another project; nothing for a device. */
export function mayPublish(caller: Caller, topic: string): boolean {
  const [root, project, kind] = topic.split('/')
  if (root !== 'projects' || streamTopic(topic)) return false
  return kind !== 'alarms' && roleIn(caller, project) !== undefined && roleIn(caller, project) !== 'user'
}

/** Why `mayPublish` or `maySubscribe` said no. */
export function refusalOf(topic: string): string {
  const shown = JSON.stringify(topic.slice(0, 100))
  if (isShort(topic))
    return `topic ${shown} is short for one in the key's own project, and this key has several: expected projects/{project}/…`
  if (topic.startsWith('d/') && shortIngest(topic))
    return `topic ${shown} is short for one in the key's own project, and only to publish: expected projects/{project}/devices/{device}/events/{eventType}`
  return `topic ${shown} is not this key's`
}

/** The short form means another project for each key; this is where subscribers find the event, whoever sent it. */
export function fullTopic({ project, device, eventType }: Place): string {
  const events = `projects/${project}/devices/${device}/events`
  return eventType === undefined ? events : `${events}/${eventType}`
}

/** A filter is granted only when everything it can match is: a wildcard in place of the project would be wider. */
export function maySubscribe(caller: Caller, filter: string): boolean {
  const [root, project, kind, device = ''] = filter.split('/')
  if (root !== 'projects') return false
  // `devices/plug:stream` is no channel.
  if (caller.device)
    return project === caller.device.project && kind === 'devices' && isPartOf(caller.device.id, device) && !streamTopic(filter)
  return roleIn(caller, project) !== undefined
}

/** For what waited while its client was away, whose rights may be others now. */
export function mayReceive(caller: Caller, topic: string, payload: Buffer): boolean {
  const stream = streamTopic(topic)
  if (stream?.project !== ALL) return maySubscribe(caller, topic)
  return roleIn(caller, projectOfFrame(payload)) !== undefined
}

/** Undefined for a frame that is about no project (the end of a stream). */
function projectOfFrame(payload: Buffer): string | undefined {
  const { result } = JSON.parse(payload.toString('utf8')) as { result?: { event?: { targetName: string }; alarm?: { name: string } } }
  return (result?.event?.targetName ?? result?.alarm?.name)?.split('/')[1]
}

function roleIn(caller: Caller, project: string | undefined): string | undefined {
  return project !== undefined && Object.hasOwn(caller.roles, project) ? caller.roles[project] : undefined
}
