// What one connection has published and is not acknowledged yet, in the order of the packets: so are they acknowledged [MQTT-4.6.0-2],
// whichever way each of them went.

export type Done = (error?: Error | null) => void

export type Publication = {
  /** 0: QoS 0, or the broker acknowledges it. */
  readonly packetId: number
  readonly bytes: number
  /** Of what went by the broker, which writes the acknowledgement when it is called. */
  readonly done: Done | undefined
  isSettled: boolean
  error: Error | undefined
}

export type AcksPorts = {
  /** These are ours to acknowledge now. */
  acknowledge(packetIds: readonly number[]): void
  failed(publication: Publication, error: Error): void
}

export class Acks {
  readonly #ports: AcksPorts
  readonly #open: Publication[] = []
  #head = 0
  /** Handed over together when what settles now has settled. */
  #ready: number[] = []
  #bytes = 0

  constructor(ports: AcksPorts) {
    this.#ports = ports
  }

  get size(): number {
    return this.#open.length - this.#head
  }

  /** Payloads that are under way. */
  get bytes(): number {
    return this.#bytes
  }

  begin(packetId: number, bytes: number, done?: Done): Publication {
    const publication = { packetId, bytes, done, isSettled: false, error: undefined }
    this.#open.push(publication)
    this.#bytes += bytes
    return publication
  }

  settle(publication: Publication, error: Error | undefined): void {
    publication.isSettled = true
    publication.error = error
    if (publication === this.#open[this.#head]) this.#release()
  }

  /** Hands over what may be acknowledged. */
  flush(): void {
    if (this.#ready.length === 0) return
    const ready = this.#ready
    this.#ready = []
    this.#ports.acknowledge(ready)
  }

  #release(): void {
    for (let next = this.#open[this.#head]; next?.isSettled; next = this.#open[this.#head]) {
      this.#head++
      this.#bytes -= next.bytes
      this.#tell(next)
    }
    if (this.#head === this.#open.length) {
      this.#open.length = 0
      this.#head = 0
    } else if (this.#head > 1024) {
      this.#open.splice(0, this.#head)
      this.#head = 0
    }
  }

  #tell(publication: Publication): void {
    const { packetId, done, error } = publication
    if (done) {
      // The broker writes at once: what was before it goes first.
      this.flush()
      done(error ?? null)
    } else if (error) {
      this.flush()
      this.#ports.failed(publication, error)
    } else if (packetId !== 0 && this.#ready.push(packetId) === 1) process.nextTick(() => this.flush())
  }
}
