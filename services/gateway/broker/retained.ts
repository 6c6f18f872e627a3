// Retained messages: in Redis by project, and in memory for the projects that somebody asked for of late.
import type { Redis } from 'ioredis'
import { projectKey } from '../../../packages/log/key.ts'
import type { Logger } from '../../../packages/runtime/logger.ts'
import { TopicTree } from './filter.ts'
import { defineInOrder, type InOrder } from './inorder.ts'
import { decodeMessage, encodeMessage, type Message } from './message.ts'
import { defineScripts, type Scripts } from './script.ts'

export type RetainedLimits = { readonly messages: number; readonly bytes: number }

/** Of each project. Alarms, which Telltale retains itself, are not among them. */
const LIMITS: RetainedLimits = { messages: 10_000, bytes: 16 * 1024 * 1024 }
/** That are kept in memory. */
const MAX_PROJECTS = 200
const WARN_EVERY_MS = 60_000

type Tree = TopicTree<Message>

export class Retained {
  readonly #redis: Redis & Scripts & InOrder
  readonly #log: Logger
  readonly #limits: RetainedLimits
  /** The longest unused first. */
  readonly #trees = new Map<string, Promise<Tree>>()
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
    const outcome = await (message.order === undefined
      ? this.#redis.mqttRetain(2, key, heldKey, ...args)
      : this.#redis.mqttRetainInOrder(2, key, heldKey, message.order, ...args))
    if (outcome === 0) this.#refused(project, message)
    // Whoever subscribes after the acknowledgement gets this one, whenever the common channel tells of it.
    if (outcome === 1) learn(await this.#trees.get(project), message.topic, bytes === '' ? undefined : message)
    return outcome === 1
  }

  /** What each filter finds, a message that several find once. Filters name their project. */
  async *match(filters: readonly string[]): AsyncGenerator<Message> {
    const sent = new Set<string>()
    for (const filter of filters) {
      const project = projectOf(filter)
      if (project === undefined) continue
      for (const message of (await this.#treeOf(project)).match(filter)) {
        if (sent.has(message.topic)) continue
        sent.add(message.topic)
        yield message
      }
    }
  }

  async get(topic: string): Promise<Message | undefined> {
    const project = projectOf(topic)
    return project === undefined ? undefined : (await this.#treeOf(project)).get(topic)
  }

  /** A gateway changed something: `R{project}\n{bytes of the topic}\n{topic}{message, or nothing}`. */
  heard(change: Buffer): void {
    const [first, second] = [change.indexOf(0x0a), change.indexOf(0x0a, change.indexOf(0x0a) + 1)]
    const end = second + 1 + Number(change.toString('utf8', first + 1, second))
    const topic = change.toString('utf8', second + 1, end)
    const message = end === change.length ? undefined : decodeMessage(change.subarray(end))
    // Of a project that is being read this is applied to what was read.
    this.#trees.get(change.toString('utf8', 1, first))?.then(
      tree => learn(tree, topic, message),
      () => this.#log.debug({ topic }, 'retained messages not read'),
    )
  }

  /** Changes may have been missed. */
  forget(): void {
    this.#trees.clear()
  }

  #treeOf(project: string): Promise<Tree> {
    const known = this.#trees.get(project)
    this.#trees.delete(project)
    const tree = known ?? this.#read(project)
    this.#trees.set(project, tree)
    if (this.#trees.size > MAX_PROJECTS) this.#trees.delete(this.#trees.keys().next().value as string)
    return tree
  }

  async #read(project: string): Promise<Tree> {
    try {
      const tree: Tree = new TopicTree()
      for (const bytes of await this.#redis.hvalsBuffer(projectKey(project, 'retained'))) {
        const message = decodeMessage(bytes)
        tree.set(message.topic, message)
      }
      return tree
    } catch (error) {
      this.#trees.delete(project)
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

/** What another gateway has retained since may be known before it is known here that this one did. */
function learn(tree: Tree | undefined, topic: string, message: Message | undefined): void {
  if (message?.order !== undefined && (tree?.get(topic)?.order ?? '') > message.order) return
  tree?.set(topic, message)
}

/** Of a topic in its long form. */
export function projectOf(topic: string): string | undefined {
  return /^projects\/([^/+#]+)(?:\/|$)/.exec(topic)?.[1]
}
