// The heartbeat of this process: one command a second that says that it lives and what it holds, and a last one when it stops.
import { kindOf, loadOf, type NodeFacts, type Nodes, type Pulse } from './node.ts'
import type { Presence } from './presence.ts'

export type HeartbeatPorts = {
  readonly nodes: Nodes
  readonly presence: Presence
  facts(): NodeFacts
  /** Told once per outage. */
  troubled(error: unknown): void
  /** Told when the load rises above the threshold (percent of the capacity), and when it is below again. */
  crossed(isAbove: boolean, load: number, threshold: number): void
  /** A second. */
  readonly paceMs?: number
}

const BEAT_MS = 1000
/** What comes together is told together. */
const SOON_MS = 200

export class Heartbeat {
  readonly #ports: HeartbeatPorts
  #timer: NodeJS.Timeout | undefined
  #running: Promise<void> | undefined
  #soon = false
  #stopped = false
  #troubled = false
  #isAbove = false

  constructor(ports: HeartbeatPorts) {
    this.#ports = ports
  }

  /** Resolves after the first beat, whether Redis was there or not. */
  async start(): Promise<void> {
    this.#ports.presence.onChange(() => {
      if (!this.#soon) this.#schedule(SOON_MS)
      this.#soon = true
    })
    await this.#beat()
  }

  /** The node is gone from the directory when this resolves. Idempotent. */
  async stop(): Promise<void> {
    this.#stopped = true
    clearTimeout(this.#timer)
    await this.#running
    // While Redis is away the node is forgotten by itself.
    await this.#ports.nodes.leave(this.#ports.facts().id).catch((error: unknown) => this.#ports.troubled(error))
  }

  #schedule(ms: number): void {
    clearTimeout(this.#timer)
    if (!this.#stopped) this.#timer = setTimeout(() => void this.#beat(), ms)
  }

  #beat(): Promise<void> {
    this.#running ??= this.#round().finally(() => {
      this.#running = undefined
      const paceMs = this.#ports.paceMs ?? BEAT_MS
      this.#schedule(this.#soon ? Math.min(SOON_MS, paceMs) : paceMs)
    })
    return this.#running
  }

  async #round(): Promise<void> {
    const { nodes, presence, facts, troubled } = this.#ports
    this.#soon = false
    const changes = presence.take()
    try {
      const pulse = await nodes.beat(facts(), changes)
      this.#soon ||= presence.kept(changes, pulse.fields, pulse.nowMs)
      this.#troubled = false
      this.#judge(facts(), pulse)
    } catch (error) {
      presence.lost(changes)
      if (!this.#troubled) troubled(error)
      this.#troubled = true
    }
  }

  #judge(facts: NodeFacts, { thresholds }: Pulse): void {
    const kind = kindOf(facts)
    if (kind === undefined) return
    const percent = Math.round(loadOf(facts) * 100)
    const isAbove = percent > thresholds[kind]
    if (isAbove !== this.#isAbove) this.#ports.crossed(isAbove, percent, thresholds[kind])
    this.#isAbove = isAbove
  }
}
