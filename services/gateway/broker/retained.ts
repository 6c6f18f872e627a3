// Retained messages: in Redis by project, and in memory for the projects that somebody asked for of late.
import type { Redis } from 'ioredis'
import { projectKey } from '../../../packages/log/key.ts'
import type { Logger } from '../../../packages/runtime/logger.ts'
import { defineInOrder, type InOrder, LATER } from './inorder.ts'
import { decodeMessage, encodeMessage, type Message } from './message.ts'
import { defineScripts, type Scripts } from './script.ts'
import { Standing } from './standing.ts'

/** Of each project, and in the memory of a gateway. Alarms, which Telltale retains itself, are only among the latter. */
export type RetainedLimits = { readonly messages: number; readonly bytes: number; readonly memoryBytes: number }

/** That are kept in memory. */
const MAX_PROJECTS = 200
/** Read in one step: meanwhile Redis does nothing else. */
const PAGE = 500
const LIMITS: RetainedLimits = { messages: 10_000, bytes: 16 * 1024 * 1024, memoryBytes: 128 * 1024 * 1024 }
const WARN_EVERY_MS = 60_000
const END = 0x0a

/** What was read of a project, once it is. */
type Known = { readonly all: Promise<Standing>; read?: Standing }

export class Retained {
  readonly #redis: Redis & Scripts & InOrder
  readonly #log: Logger
  readonly #limits: RetainedLimits
  /** The longest unused first. */
  readonly #projects = new Map<string, Known>()
  readonly #warnedMs = new Map<string, number>()

  constructor(redis: Redis, log: Logger, limits: Partial<RetainedLimits> = {}) {
    this.#redis = defineInOrder(defineScripts(redis))
    this.#log = log
    this.#limits = { ...LIMITS, ...limits }
  }

  /** Without a payload: none is retained there any more [MQTT-3.3.1-10]. @returns whether anything changed. */
  async store(project: string, message: Message): Promise<boolean> {
    const bytes = message.payload.length === 0 ? '' : encodeMessage(message)
    const { messages, bytes: most } = this.#limits
    const [key, heldKey] = [projectKey(project, 'retained'), projectKey(project, 'retainedHeld')]
    const args = [project, message.topic, bytes, messages, most]
    const [outcome, version] = await (message.order === undefined
      ? this.#redis.mqttRetain(2, key, heldKey, ...args)
      : this.#redis.mqttRetainInOrder(2, key, heldKey, message.order, ...args))
    if (outcome === 0) this.#refused(project, message)
    // Whoever subscribes after the acknowledgement gets this one, whenever the common channel tells of it.
    else if (outcome !== LATER) await this.#change(project, all => all.answered(message.topic, bytes === '' ? undefined : message, version))
    return outcome === 1
  }

  /** Whether it says what stands there as Redis says, which may be more than was told here by now. */
  async stands({ topic, payload }: Message): Promise<boolean> {
    const project = projectOf(topic)
    const bytes = project === undefined ? null : await this.#redis.hgetBuffer(projectKey(project, 'retained'), topic)
    return bytes !== null && decodeMessage(bytes).payload.equals(payload)
  }

  /** What each filter finds, a message that several find once. Filters name their project. */
  async *match(filters: readonly string[]): AsyncGenerator<Message> {
    const sent = new Set<string>()
    for (const filter of filters) {
      const project = projectOf(filter)
      if (project === undefined) continue
      for (const message of (await this.#standing(project)).match(filter)) {
        if (sent.has(message.topic)) continue
        sent.add(message.topic)
        yield message
      }
    }
  }

  async get(topic: string): Promise<Message | undefined> {
    const project = projectOf(topic)
    return project === undefined ? undefined : (await this.#standing(project)).get(topic)
  }

  /** A gateway changed something: `R{project}\n{number}\n{bytes of the topic}\n{topic}{message, or nothing}`. */
  heard(change: Buffer): void {
    const first = change.indexOf(END)
    const second = change.indexOf(END, first + 1)
    const third = change.indexOf(END, second + 1)
    const [project, version] = [change.toString('utf8', 1, first), Number(change.toString('utf8', first + 1, second))]
    const end = third + 1 + Number(change.toString('utf8', second + 1, third))
    const topic = change.toString('utf8', third + 1, end)
    const message = end === change.length ? undefined : decodeMessage(change.subarray(end))
    // Of a project that is being read this is applied to what was read.
    void this.#change(project, all => {
      if (!all.told(topic, message, version)) this.#projects.delete(project)
    })
  }

  /** Where nothing is known there is nothing to change; what cannot be read is read again by the next who asks. */
  async #change(project: string, change: (all: Standing) => void): Promise<void> {
    try {
      const known = this.#projects.get(project)
      if (!known) return
      change(await known.all)
      this.#makeRoom()
    } catch (error) {
      this.#log.debug({ project, reason: (error as Error).message }, 'retained messages not read')
    }
  }

  /** Changes may have been missed. */
  forget(): void {
    this.#projects.clear()
  }

  #standing(project: string): Promise<Standing> {
    const known = this.#projects.get(project) ?? this.#read(project)
    this.#projects.delete(project)
    this.#projects.set(project, known)
    this.#makeRoom()
    return known.all
  }

  /** The project that was asked for last stays, however large it is: it would be read again for everybody who asks. */
  #makeRoom(): void {
    let bytes = 0
    for (const { read } of this.#projects.values()) bytes += read?.bytes ?? 0
    for (const [project, { read }] of this.#projects) {
      if (this.#projects.size === 1 || (this.#projects.size <= MAX_PROJECTS && bytes <= this.#limits.memoryBytes)) return
      this.#projects.delete(project)
      bytes -= read?.bytes ?? 0
    }
  }

  #read(project: string): Known {
    const known: Known = { all: this.#readAll(project) }
    known.all.then(
      all => {
        known.read = all
        this.#makeRoom()
      },
      () => {
        // Whoever asked is told; who asks next has it read again.
        if (this.#projects.get(project) === known) this.#projects.delete(project)
      },
    )
    return known
  }

  /** The number first: what changes in between is told of. Each part says as of which change it is, so that what is older is not taken for news. */
  async #readAll(project: string): Promise<Standing> {
    const [key, heldKey] = [projectKey(project, 'retained'), projectKey(project, 'retainedHeld')]
    const standing = new Standing(Number((await this.#redis.hget(heldKey, 'version')) ?? 0))
    let cursor = '0'
    do {
      const [next, version, fields] = await this.#redis.mqttRetainedBuffer(2, key, heldKey, cursor, PAGE)
      standing.read(fields.filter((_, index) => index % 2 === 1).map(decodeMessage), Number(version))
      cursor = next.toString()
    } while (cursor !== '0')
    return standing
  }

  #refused(project: string, { topic, author }: Message): void {
    const nowMs = performance.now()
    if (nowMs - (this.#warnedMs.get(project) ?? Number.NEGATIVE_INFINITY) < WARN_EVERY_MS) return
    if (this.#warnedMs.size >= MAX_PROJECTS) this.#warnedMs.clear()
    this.#warnedMs.set(project, nowMs)
    const { messages, bytes } = this.#limits
    const facts = { project, topic, keyId: author?.keyId, messages, bytes }
    this.#log.warn(facts, 'not retained: the project retains as many messages, or bytes, as it may; subscribers got it all the same')
  }
}

/** Of a topic in its long form. */
export function projectOf(topic: string): string | undefined {
  return /^projects\/([^/+#]+)(?:\/|$)/.exec(topic)?.[1]
}
