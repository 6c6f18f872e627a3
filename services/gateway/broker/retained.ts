// Retained messages: in Redis by project, and in memory for the projects that somebody asked for of late.
import type { Redis } from 'ioredis'
import { projectKey } from '../../../packages/log/key.ts'
import type { Logger } from '../../../packages/runtime/logger.ts'
import { defineInOrder, type InOrder, LATER } from './inorder.ts'
import { decodeMessage, encodeMessage, type Message } from './message.ts'
import { defineScripts, type Scripts } from './script.ts'
import { Standing } from './standing.ts'

export type RetainedLimits = { readonly messages: number; readonly bytes: number }

/** Of each project. Alarms, which Telltale retains itself, are not among them. */
const LIMITS: RetainedLimits = { messages: 10_000, bytes: 16 * 1024 * 1024 }
/** That are kept in memory. */
const MAX_PROJECTS = 200
const WARN_EVERY_MS = 60_000
const END = 0x0a

export class Retained {
  readonly #redis: Redis & Scripts & InOrder
  readonly #log: Logger
  readonly #limits: RetainedLimits
  /** The longest unused first. */
  readonly #projects = new Map<string, Promise<Standing>>()
  readonly #warnedMs = new Map<string, number>()

  constructor(redis: Redis, log: Logger, limits: RetainedLimits = LIMITS) {
    this.#redis = defineInOrder(defineScripts(redis))
    this.#log = log
    this.#limits = limits
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
      const all = await this.#projects.get(project)
      if (all) change(all)
    } catch (error) {
      this.#log.debug({ project, reason: (error as Error).message }, 'retained messages not read')
    }
  }

  /** Changes may have been missed. */
  forget(): void {
    this.#projects.clear()
  }

  #standing(project: string): Promise<Standing> {
    const known = this.#projects.get(project)
    this.#projects.delete(project)
    const all = known ?? this.#read(project)
    this.#projects.set(project, all)
    if (this.#projects.size > MAX_PROJECTS) this.#projects.delete(this.#projects.keys().next().value as string)
    return all
  }

  async #read(project: string): Promise<Standing> {
    const [key, heldKey] = [projectKey(project, 'retained'), projectKey(project, 'retainedHeld')]
    try {
      // The number first: what changes in between is told of, and is no harm twice.
      const [version, messages] = await Promise.all([this.#redis.hget(heldKey, 'version'), this.#redis.hvalsBuffer(key)])
      return new Standing(messages.map(decodeMessage), Number(version ?? 0))
    } catch (error) {
      this.#projects.delete(project)
      throw error
    }
  }

  #refused(project: string, { topic, author }: Message): void {
    const nowMs = Date.now()
    if (nowMs - (this.#warnedMs.get(project) ?? 0) < WARN_EVERY_MS) return
    if (this.#warnedMs.size >= MAX_PROJECTS) this.#warnedMs.clear()
    this.#warnedMs.set(project, nowMs)
    const facts = { project, topic, keyId: author?.keyId, ...this.#limits }
    this.#log.warn(facts, 'not retained: the project retains as many messages, or bytes, as it may; subscribers got it all the same')
  }
}

/** Of a topic in its long form. */
export function projectOf(topic: string): string | undefined {
  return /^projects\/([^/+#]+)(?:\/|$)/.exec(topic)?.[1]
}
