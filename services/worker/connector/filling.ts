// Filling lanes that have run dry. One that cannot be filled rests: what was read goes on meanwhile, and so do the other lanes.
import type { Lane } from './lane.ts'

/** Before what could not be read is read again. */
export const REST_MS = 1000

export type FillingPorts = {
  /** A lane has more, or may be asked again. */
  filled(): void
  /** A lane cannot be filled: the store may be away. */
  troubled(error: Error): void
}

export class Filling {
  readonly #ports: FillingPorts
  readonly #resting = new Map<Lane, NodeJS.Timeout>()
  #stopped = false

  constructor(ports: FillingPorts) {
    this.#ports = ports
  }

  fill(lanes: Iterable<Lane>): void {
    for (const lane of lanes)
      if (lane.wantsMore() && !this.#resting.has(lane))
        lane.fill().then(
          () => this.#ports.filled(),
          (error: Error) => this.#rest(lane, error),
        )
  }

  stop(): void {
    this.#stopped = true
    for (const timer of this.#resting.values()) clearTimeout(timer)
  }

  #rest(lane: Lane, error: Error): void {
    this.#ports.troubled(error)
    if (this.#stopped) return
    const timer = setTimeout(() => {
      this.#resting.delete(lane)
      this.#ports.filled()
    }, REST_MS)
    this.#resting.set(lane, timer)
  }
}
