// Whom we listen to: what peers have sent and nobody has dealt with is bounded, for each WebSocket and for all of them together. Beyond that
// nothing more is read, and TCP lets them wait.
import type { Outlet } from './outlet.ts'
import { Rooms } from './room.ts'

/** What a message costs beside its text, as long as it waits. */
const EACH_BYTES = 512
/** Of one WebSocket. */
const MAX_BYTES = 8 * 1024 * 1024
/** Of all. A message stands beside its frame for a while, so it is in memory about twice. */
const MAX_ALL_BYTES = 64 * 1024 * 1024
/** Once there was too much, all are listened to again when so much of it is left: not for every single message. */
const ENOUGH_SHARE = 0.75
/** What comes of a frame before it is a large one. */
const SMALL_BYTES = 64 * 1024

/** All of a process. */
export class Ears {
  readonly rooms: Rooms
  readonly #maxBytes: number
  readonly #open = new Set<Ear>()
  #waitingBytes = 0
  #full = false

  constructor(maxBytes = MAX_ALL_BYTES, rooms = new Rooms()) {
    this.#maxBytes = maxBytes
    this.rooms = rooms
  }

  /** Heard and not dealt with. */
  get waitingBytes(): number {
    return this.#waitingBytes
  }

  get full(): boolean {
    return this.#full
  }

  /** @param maxMessages how many of this one may wait. */
  open(outlet: Outlet, maxMessages: number): Ear {
    const ear = new Ear(this, outlet, maxMessages)
    this.#open.add(ear)
    return ear
  }

  forget(ear: Ear): void {
    this.#open.delete(ear)
  }

  add(bytes: number): void {
    this.#waitingBytes += bytes
    const full = this.#waitingBytes > this.#maxBytes * (this.#full ? ENOUGH_SHARE : 1)
    if (full === this.#full) return
    this.#full = full
    for (const ear of this.#open) ear.attend()
  }
}

/** Of one WebSocket. */
export class Ear {
  readonly #all: Ears
  readonly #outlet: Outlet
  readonly #maxMessages: number
  #sizes: number[] = []
  #bytes = 0
  #deaf = false
  #waits = false
  readonly #guest = {
    enter: () => {
      this.#waits = false
      this.attend()
    },
    leave: () => this.#outlet.close(1013, 'many send large messages, and this one came too slowly: try again'),
  }

  constructor(all: Ears, outlet: Outlet, maxMessages: number) {
    this.#all = all
    this.#outlet = outlet
    this.#maxMessages = maxMessages
  }

  /** Something waits for us. */
  get isBusy(): boolean {
    return this.#sizes.length > 0
  }

  /** So much has come of a message that is not whole. */
  came(bytes: number): void {
    if (bytes <= SMALL_BYTES || this.#waits || this.#outlet.ended) return
    this.#waits = !this.#all.rooms.ask(this.#guest)
    this.attend()
  }

  heard(length: number): void {
    this.#all.rooms.done(this.#guest)
    const size = length + EACH_BYTES
    this.#sizes.push(size)
    this.#add(size)
  }

  /** So many messages more are dealt with. */
  done(messages: number): void {
    this.#add(-this.#sizes.splice(0, messages).reduce((sum, size) => sum + size, 0))
    this.attend()
  }

  /** Listens or does not, as it is now. What one read of the socket still holds comes all the same: not much. */
  attend(): void {
    const deaf = this.#waits || this.#all.full || this.#outlet.full || this.#sizes.length >= this.#maxMessages || this.#bytes >= MAX_BYTES
    // Whoever is closing waits for the peer's answer to that.
    if (deaf === this.#deaf || this.#outlet.ended) return
    this.#deaf = deaf
    if (deaf) this.#outlet.deafen()
    else this.#outlet.listen()
  }

  /** Nothing comes any more, and what came is dealt with or never will be. */
  close(): void {
    this.#all.forget(this)
    this.#all.rooms.done(this.#guest)
    this.done(this.#sizes.length)
  }

  #add(bytes: number): void {
    this.#bytes += bytes
    this.#all.add(bytes)
  }
}
