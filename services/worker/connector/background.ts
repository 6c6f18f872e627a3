// What is pushed beside the live log: a sync, a replay. Slower than could be, so that the receiver and the live events do not feel it.
import type { CommitCommand } from '../../../packages/log/log.ts'
import type { TaskName } from '../../../packages/state/connector.ts'
import type { Lane } from './lane.ts'
import type { Item, Open } from './open.ts'

type Task = { readonly name: TaskName; readonly id: string; readonly lane: Lane; events: number; saved: string }

const PARALLEL = 5
/** 500 events a second. */
const EVERY_MS = 2
const BURST_MS = 50

export class Background {
  readonly #tasks: Task[] = []
  /** Done, and not yet noted as such. */
  readonly #ended: Task[] = []
  #underWay = 0
  #nextMs = 0

  has(name: TaskName, id: string): boolean {
    return [...this.#tasks, ...this.#ended].some(task => task.name === name && task.id === id)
  }

  /** @param events pushed in an earlier life. */
  add(name: TaskName, id: string, lane: Lane, events: number): void {
    this.#tasks.push({ name, id, lane, events, saved: '' })
  }

  get lanes(): readonly Lane[] {
    return this.#tasks.map(({ lane }) => lane)
  }

  /** None of the places is taken. */
  get isIdle(): boolean {
    return this.#underWay === 0
  }

  /** When there may be a next one. */
  get nextMs(): number {
    return this.#tasks.length === 0 || this.#underWay >= PARALLEL ? Infinity : this.#nextMs
  }

  next(nowMs: number): Item | undefined {
    if (this.#underWay >= PARALLEL || this.#nextMs > nowMs) return undefined
    for (const { lane } of this.#tasks) {
      const item = lane.next()
      if (!item) continue
      this.#nextMs = Math.max(this.#nextMs, nowMs - BURST_MS) + EVERY_MS
      return item
    }
    return undefined
  }

  started(item: Item): void {
    if (isOurs(item)) this.#underWay++
  }

  settled(item: Item, ok: boolean): void {
    if (!isOurs(item)) return
    this.#underWay--
    const task = this.#tasks.find(({ lane }) => lane.prefix === item.key[0])
    if (ok && task) task.events++
  }

  /** Ends the tasks of which everything has been tried; what was not taken is tried again like any other event. */
  end(open: Pick<Open, 'untried'>): void {
    for (const task of this.#tasks.filter(({ lane }) => lane.ended() && open.untried(lane.prefix) === 0)) {
      this.#tasks.splice(this.#tasks.indexOf(task), 1)
      this.#ended.push(task)
    }
  }

  get hasEnded(): boolean {
    return this.#ended.length > 0
  }

  get hasMoved(): boolean {
    return this.#tasks.some(task => savedOf(task) !== task.saved)
  }

  /** What has changed since the last call, as writes to this hash. */
  take(hash: string): CommitCommand[] {
    const writes: CommitCommand[] = []
    for (const task of [...this.#tasks, ...this.#ended]) {
      const text = savedOf(task)
      if (text !== task.saved) writes.push(['HSET', hash, `${task.name}:progress`, text])
      task.saved = text
    }
    for (const { name, id } of this.#ended.splice(0)) writes.push(['HSET', hash, `${name}:done`, id])
    return writes
  }
}

function isOurs({ key }: Item): boolean {
  return !key.startsWith('l')
}

function savedOf({ lane, events }: Task): string {
  return JSON.stringify({ place: lane.place(), events })
}
