// What becomes of one MQTT publish: an event that is accepted or quarantined before its PUBACK, a payload for a decoder, or ordinary broker
// traffic under the rights of its sender. Called by whoever has read the packet, in the order of the connection; answered in that order.
import { Failure } from '../../../packages/core/failure.ts'
import { contentKey } from '../../../packages/core/id.ts'
import { type Caller, mayActAs, requireActAs } from '../../../packages/identity/identity.ts'
import type { Clock, Decoded, Place } from '../decode/event.ts'
import { decodeJson } from '../decode/json.ts'
import type { Catalog, Known } from '../decoder/catalog.ts'
import { claimant, ingestTold, type Made, type RunPorts, runDecoder, type Told, tell } from '../decoder/decoderun.ts'
import { type Decoder, type Mounted, mounted, mountedTopic } from '../decoder/mapping.ts'
import { type IngestPorts, ingestInTurn, refusal, type Source, setAside } from '../ingest.ts'
import { mayTell, ownOnly, senderOf } from '../own.ts'
import type { Done } from './sequence.ts'
import { clientIdOf, type Session } from './session.ts'
import { fullTopic, mayPublish, refusalOf, unmounted } from './topic.ts'

export type PublishPorts = IngestPorts & {
  readonly clock: Clock
  readonly catalog: Pick<Catalog, 'of'>
  readonly run: RunPorts
  /** Publishes under `projects/{project}/`, as the broker itself. */
  send(project: string, topic: string, payload: Buffer): void
}

/** A client by what the broker knows it as. */
export type Sender = { readonly id: string }

export type Publish = {
  /** Another one may be put in its place: the full form of a short one, or NOWHERE. */
  topic: string
  readonly payload: Buffer | string
  readonly qos: 0 | 1 | 2
  readonly dup: boolean
  readonly retain?: boolean
  readonly messageId?: number | undefined
}

/** Told of what is refused for its topic. */
export type Refused = (client: Sender, session: Session, topic: string, reason: string) => void

/** Where refused publishes go instead of to subscribers: nobody may subscribe to `$` topics. */
export const NOWHERE = '$telltale/refused'
const TOO_MANY = new Failure('unavailable', 'too many publishes of this connection wait for their decoders', { retryAfterMs: 1000 })

/** One of them, with all it needs. */
type Job = {
  readonly ports: PublishPorts
  readonly refused: Refused
  readonly client: Sender
  readonly session: Session
  readonly packet: Publish
  readonly done: Done
}

/** Done without an error: it may be acknowledged. */
export function publish(ports: PublishPorts, refused: Refused, client: Sender, session: Session, packet: Publish, done: Done): void {
  const answer = session.sequence.answer(error => {
    if (!error) session.deliveries.acknowledged()
    done(error)
  })
  const job = { ports, refused, client, session, packet, done: answer }
  if (!session.sequence.work(() => answered(job))) answer(TOO_MANY)
}

/** Whatever breaks is told as the answer, which ends the connection and is logged: all that comes behind would wait for it for ever. */
function answered(job: Job): Promise<void> | undefined {
  try {
    return begin(job)?.catch(job.done)
  } catch (error) {
    job.done(error as Error)
    return undefined
  }
}

function begin(job: Job): Promise<void> | undefined {
  const { session, packet } = job
  const { topic } = packet
  const place = session.placeOf(topic)
  if (place && mayActAs(session.caller, place.project, place.device ?? '')) return acceptFrom(job, place)
  const mount = place ? undefined : mounted(topic, session.project)
  if (mount && mayActIn(session.caller, mount.project)) return look(job, mount)
  if (!place && mayPublish(session.caller, topic)) {
    job.done(null)
    return undefined
  }
  return session.renew().then(() => renewed(job), job.done)
}

function renewed(job: Job): Promise<void> | undefined {
  const { session, packet } = job
  const place = session.placeOf(packet.topic)
  // What is meant as an event is acknowledged, and set aside with the reason.
  if (place) return acceptFrom(job, place)
  const mount = mounted(packet.topic, session.project)
  if (mount && mayActIn(session.caller, mount.project)) return look(job, mount)
  pass(job)
  return undefined
}

/** Ordinary broker traffic. */
function pass({ refused, client, session, packet: { topic }, done }: Job): void {
  if (mayPublish(session.caller, topic)) {
    done(null)
    return
  }
  refused(client, session, topic, refusalOf(topic))
  done(new Error(refusalOf(topic)))
}

/** Whether decoders take what the caller sends; a device's own elements are looked at one by one. */
function mayActIn(caller: Caller, project: string): boolean {
  return caller.device ? caller.device.project === project : mayActAs(caller, project, '')
}

/** Whether a decoder takes the topic. */
function look(job: Job, mount: Mounted): Promise<void> | undefined {
  const known = job.ports.catalog.of(mount.project)
  if (known instanceof Promise) return known.then(now => choose(job, mount, now)).catch(job.done)
  return choose(job, mount, known)
}

function choose(job: Job, mount: Mounted, { mappings }: Known): Promise<void> | undefined {
  const decoder = mappings.ofTopic(mount.topic)
  if (decoder) return decode(job, mount, decoder)
  if (mappings.claiming.length === 0) {
    pass(job)
    return undefined
  }
  const claimed = claimant(job.ports.run, mappings.claiming, mount.project, mount.topic, job.session.caller.device?.id)
  const go = (one: Decoder | undefined) => (one ? decode(job, mount, one) : pass(job))
  if (claimed instanceof Promise) return claimed.then(go).catch(job.done)
  return go(claimed) ?? undefined
}

function decode(job: Job, mount: Mounted, decoder: Decoder): Promise<void> | undefined {
  const { ports, packet } = job
  const payload = bytesOf(packet)
  const { mapping, format } = decoder
  const from: Source = {
    ...sourceOf(job, mount.project, payload),
    decoder: { name: mapping.name, format: format.name, version: format.version },
    again: { place: {}, topic: mount.topic, ...senderOf(job.session.caller) },
    separable: format.separable === true,
  }
  // Subscribers get the bytes as published, whatever the decoder makes of them.
  packet.topic = mountedTopic(mount)
  const { caller } = job.session
  const told = (made: Made) => tell(ports, mount.project, made, mayTell(caller, made.decoded))
  const take = (made: Told) => settle(job, from, made)
  const refuse = (error: unknown) => refuseWhole(job, from, payload, error)
  const given = { project: mount.project, bytes: payload, topic: mount.topic.split('/'), place: {}, sender: job.session.caller.device?.id }
  try {
    const made = runDecoder(ports.run, decoder, given, ports.clock, told)
    return made instanceof Promise ? made.then(take).catch(refuse) : take(made)
  } catch (error) {
    refuse(error)
    return undefined
  }
}

/** What it told for later is on disk when its events are. */
function settle({ ports, session: { caller }, packet, done }: Job, from: Source, { decoded, hold }: Told): Promise<void> | undefined {
  const own = ownOnly(caller, decoded)
  // What a device sends on topics of all devices reaches others only when all of it is the device's own.
  if (caller.device && (own !== decoded || decoded.length === 0)) packet.topic = NOWHERE
  return ingestTold(ports, hold, own, from, failure => done(failure ?? null))
}

function refuseWhole({ ports, done }: Job, from: Source, payload: Buffer, error: unknown): void {
  if (!(error instanceof Failure) || error.code === 'unavailable') done(error as Error)
  else setAside(ports, from.project, [refusal(from, error, payload)], failure => done(failure ?? null))
}

function acceptFrom(job: Job, place: Place): Promise<void> | undefined {
  const { ports, session, packet, done } = job
  const payload = bytesOf(packet)
  const { project, device, eventType } = place
  const from: Source = {
    ...sourceOf(job, project, payload),
    decoder: JSON_DECODER,
    again: { place: { device, eventType }, ...senderOf(session.caller) },
    separable: true,
  }
  // No event: what stands retained there is to be removed [MQTT-3.3.1-10]. It may be by who may send the event.
  if (payload.length === 0 && packet.retain === true && mayActAs(session.caller, project, device ?? '')) {
    packet.topic = fullTopic(place)
    done(null)
    return undefined
  }
  const decoded = decodeAt(ports, session, place, payload)
  if (decoded instanceof Failure) {
    packet.topic = NOWHERE
    refuseAt(job, place, from, decoded, payload)
    return undefined
  }
  packet.topic = decoded.some(one => 'failure' in one) ? NOWHERE : fullTopic(place)
  return ingestInTurn(ports, decoded, from, (failure, outcomes) => {
    if (outcomes.some(one => one !== undefined)) packet.topic = NOWHERE
    done(failure ?? null)
  })
}

function refuseAt({ ports, refused, client, session, done }: Job, place: Place, from: Source, failure: Failure, payload: Buffer): void {
  const { project, device } = place
  // A project that is not the caller's own holds no quarantine of theirs.
  const isForeign = failure.code === 'not_found'
  if (isForeign && session.project === '') {
    // Of several, none is the one to keep it: it is no event that is acknowledged, and the sender is cut off as for any topic of others.
    const reason = refusalOf(from.source)
    refused(client, session, from.source, reason)
    done(new Error(reason))
    return
  }
  const { again: _here, ...elsewhere } = from
  // Nobody else's device hears what it has not sent.
  const toldTo = mayActAs(session.caller, project, device ?? '') ? device : session.caller.device?.id
  const kept = { ...refusal(isForeign ? elsewhere : from, failure, payload), device: toldTo }
  setAside(ports, isForeign ? session.project : project, [kept], unsafe => done(unsafe ?? null))
}

/** Of ingest topics. */
const JSON_DECODER = { name: 'json', format: 'json', version: 1 }

function bytesOf({ payload }: Publish): Buffer {
  return Buffer.isBuffer(payload) ? payload : Buffer.from(payload)
}

function sourceOf({ ports, client, session, packet }: Job, project: string, payload: Buffer): Source {
  const { topic } = packet
  // Once per packet and only when asked for: a payload may hold thousands of events.
  let delivery: Delivery | undefined
  const ofDelivery = () => {
    delivery ??= deliveryOf(ports, client, session, packet, topic, payload)
    return delivery
  }
  return {
    project,
    // As it was most probably written: other projects only have the long form.
    source: project === session.project ? unmounted(topic) : topic,
    keyId: session.caller.keyId,
    clientId: clientIdOf(client.id),
    payload,
    deliveryKey: index => `${ofDelivery().key}.${index}`,
    mayRepeat: () => ofDelivery().mayRepeat,
  }
}

type Delivery = { readonly key: string; readonly mayRepeat: boolean }

function deliveryOf(ports: PublishPorts, client: Sender, session: Session, packet: Publish, topic: string, payload: Buffer): Delivery {
  const key = contentKey(`${client.id}\t${packet.messageId ?? ports.clock.newId()}\t${topic}\t${payload.toString('latin1')}`)
  return { key, mayRepeat: packet.qos > 0 && session.deliveries.mayRepeat(key, packet.dup) }
}

function decodeAt(ports: PublishPorts, { caller }: Session, place: Place, payload: Buffer): readonly Decoded[] | Failure {
  try {
    requireActAs(caller, place.project, place.device)
    return ownOnly(caller, decodeJson(payload, place, ports.clock))
  } catch (error) {
    if (error instanceof Failure) return error
    throw error
  }
}
