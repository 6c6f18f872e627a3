// Copying to a durable stream: takes events from its lanes, in their order and a batch at a time, and its place moves in the same step
// in which the stream has them. A stream that cannot take them holds everything; nothing is skipped.
import type { NewMessage } from '../../../packages/log/durable/message.ts'
import type { CommitCommand, Log, Move } from '../../../packages/log/log.ts'
import { AttemptCount } from '../../../packages/state/attempt.ts'
import { consumerOf, type Failing, progressKey, type TaskName } from '../../../packages/state/connector.ts'
import { Background } from './background.ts'
import { backoffMs } from './circuit.ts'
import { Filling, REST_MS } from './filling.ts'
import type { Carrier, Lane } from './lane.ts'
import type { Item } from './open.ts'

export type CopyPorts = {
  readonly log: Pick<Log, 'commit'>
  readonly project: string
  /** Id of the connector. */
  readonly id: string
  /** Stands for the stream; see targetOf. */
  readonly target: string
  readonly live: Lane
  message(item: Item): Promise<NewMessage>
  /**
   * Appends these and moves the place, both or neither. False: the place is not where it was left. Rejects when the stream does not
   * take them: it may be asked again with the same.
   */
  append(messages: readonly NewMessage[], move: Move): Promise<boolean>
  attempted(ok: boolean): void
  /** It cannot go on, because others have changed what it stands on: it has stopped. */
  lost(reason: string): void
  /** A lane could not be read, or the stream takes nothing: said once for each reason, and tried again. */
  troubled(error: Error): void
  /** A clock that no one sets. */
  nowMs(): number
  /** What the clock on the wall says: for what others read. */
  wallMs(): number
  random(): number
}

/** Taken from the lanes and not in the stream yet. */
type Batch = {
  readonly items: readonly Item[]
  readonly messages: readonly NewMessage[]
  /** Of the live lane, behind them. */
  readonly place: string
  /** How far the lanes of the background are, behind them. */
  readonly commands: readonly CommitCommand[]
}

type Note = { readonly to: string; readonly commands: readonly CommitCommand[]; readonly failing: Failing | undefined }

const MAX_EVENTS = 500
const MAX_CHARS = 1024 * 1024
/** What has moved beside the events that were copied may be done again for nothing. */
const NOTE_EVERY_MS = 1000
/** A stream that is back is found soon: asking costs next to nothing. */
const MAX_PAUSE_MS = 5000
/** Whatever was handed out is tried when its batch is. */
const NOTHING_OPEN = { untried: () => 0 }

export class Copier implements Carrier {
  readonly #ports: CopyPorts
  readonly #consumer: string
  readonly #progress: string
  readonly #counts = new AttemptCount()
  readonly #background = new Background()
  readonly #filling = new Filling({ filled: () => this.pump(), troubled: error => this.#ports.troubled(error) })
  #place: string
  #commits: number
  #gaps = 0
  #batch: Batch | undefined
  /** In a row. */
  #failures = 0
  #failing: Failing | undefined
  /** As Redis has it. */
  #savedFailing: Failing | undefined
  /** Before this nothing is noted for its own sake. */
  #noteMs: number
  /** What Redis would not take. */
  #unsaved: Note | undefined
  #isCounting = false
  #running: Promise<void> | undefined
  #rung = false
  #holding = false
  #wake = () => {}
  #stopped = false

  /** @param place as committed. @param failing of an earlier life. */
  constructor(ports: CopyPorts, place: string, failing: Failing | undefined) {
    this.#ports = ports
    this.#consumer = consumerOf(ports.id)
    this.#progress = progressKey(ports.project, ports.id)
    this.#place = place
    this.#commits = Number(place.split(' ').at(-1))
    this.#failing = failing
    this.#savedFailing = failing
    this.#noteMs = ports.nowMs() + NOTE_EVERY_MS
  }

  has(name: TaskName, id: string): boolean {
    return this.#background.has(name, id)
  }

  addTask(name: TaskName, id: string, lane: Lane, events: number): void {
    this.#background.add(name, id, lane, events)
    this.pump()
  }

  missed(): void {
    this.#gaps++
  }

  /** A stream that takes nothing is asked again in its time. */
  pump(): void {
    this.#rung = true
    if (!this.#holding) this.#wake()
    this.#running ??= this.#run().catch((error: Error) => this.#lose(error.message))
  }

  async stop(): Promise<void> {
    if (this.#stopped) return
    this.#halt()
    await this.#running
    await this.#note()
  }

  #halt(): void {
    this.#stopped = true
    this.#filling.stop()
    this.#wake()
  }

  #lose(reason: string): void {
    if (this.#stopped) return
    this.#halt()
    this.#ports.lost(reason)
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      this.#look()
      this.#batch ??= await this.#next()
      if (this.#unsaved || (this.#isDirty && this.#noteMs <= this.#ports.nowMs())) await this.#tryNote()
      else if (!this.#batch) await this.#idle()
      else if (await this.#put(this.#batch)) this.#batch = undefined
    }
  }

  async #next(): Promise<Batch | undefined> {
    const { live, message, nowMs } = this.#ports
    const items: Item[] = []
    let chars = 0
    while (items.length < MAX_EVENTS && chars < MAX_CHARS) {
      // The background is paced, so there is little of it in one batch.
      const item = this.#background.next(nowMs()) ?? live.next()
      if (!item) break
      items.push(item)
      chars += item.frame.length
    }
    if (items.length === 0) return undefined
    for (const item of items) {
      this.#background.started(item)
      this.#background.settled(item, true)
    }
    const [place, commands] = [live.place(), this.#background.take(this.#progress)]
    return { items, place, commands, messages: await Promise.all(items.map(message)) }
  }

  /** False when it must be put again. */
  async #put({ items, messages, place, commands }: Batch): Promise<boolean> {
    const { append, attempted, nowMs } = this.#ports
    const started = nowMs()
    const to = `${place} ${this.#commits + 1}`
    const well: CommitCommand[] = this.#savedFailing ? [['HDEL', this.#progress, 'failing']] : []
    try {
      const move = { consumer: this.#consumer, from: this.#place, to, commands: [...commands, ...well] }
      if (!(await append(messages, move))) {
        this.#lose('others copy, or it was disabled')
        return false
      }
    } catch (error) {
      await this.#hold(error as Error, nowMs() - started)
      return false
    }
    this.#moved(to)
    this.#failures = 0
    this.#failing = undefined
    this.#savedFailing = undefined
    for (const _ of items) {
      this.#count(true, nowMs() - started)
      attempted(true)
    }
    return true
  }

  #moved(to: string): void {
    this.#place = to
    this.#commits++
  }

  #count(ok: boolean, ms: number): void {
    this.#counts.add(ok, ms)
    this.#isCounting = true
  }

  /** Waits before the same is put again, and says why. */
  async #hold(error: Error, ms: number): Promise<void> {
    const { attempted, troubled, wallMs, random, target } = this.#ports
    this.#count(false, ms)
    attempted(false)
    if (error.message !== this.#failing?.detail) troubled(error)
    this.#failing = { sinceMs: this.#failing?.sinceMs ?? wallMs(), detail: error.message, target }
    this.#failures++
    await this.#tryNote()
    this.#holding = true
    await this.#wait(backoffMs(this.#failures, MAX_PAUSE_MS, random()))
    this.#holding = false
  }

  /** Nothing is at hand. */
  async #idle(): Promise<void> {
    const now = this.#ports.nowMs()
    this.#background.end(NOTHING_OPEN)
    if (this.#background.hasEnded) this.#noteMs = now
    const noteMs = this.#isDirty ? this.#noteMs : Infinity
    const nextMs = this.#background.nextMs > now ? this.#background.nextMs : Infinity
    if (!this.#rung && noteMs > now) await this.#wait(Math.min(noteMs, nextMs) - now)
    this.#rung = false
  }

  /** Until woken, or for so long. */
  async #wait(ms: number): Promise<void> {
    if (this.#stopped) return
    let timer: NodeJS.Timeout | undefined
    await new Promise<void>(resolve => {
      this.#wake = resolve
      if (Number.isFinite(ms)) timer = setTimeout(resolve, ms)
    })
    clearTimeout(timer)
  }

  /** There is something to note beside what was copied. */
  get #isDirty(): boolean {
    if (this.#isCounting || this.#gaps > 0) return true
    if (this.#batch) return false
    return this.#background.hasEnded || this.#background.hasMoved || `${this.#ports.live.place()} ${this.#commits}` !== this.#place
  }

  async #tryNote(): Promise<void> {
    try {
      await this.#note()
    } catch (error) {
      // Redis is full, or cannot write.
      this.#ports.troubled(error as Error)
      await this.#wait(REST_MS)
    }
  }

  /** Commits what is done but for the batch that is held, and what there is to say. */
  async #note(): Promise<void> {
    const { log, project, nowMs } = this.#ports
    const note = this.#unsaved ?? this.#prepared()
    this.#unsaved = note
    this.#noteMs = nowMs() + NOTE_EVERY_MS
    const done = await log.commit(project, this.#consumer, this.#place, note.to, note.commands)
    this.#unsaved = undefined
    if (!done) this.#lose('others copy, or it was disabled')
    this.#moved(note.to)
    this.#savedFailing = note.failing
  }

  #prepared(): Note {
    const { project, id, wallMs, live } = this.#ports
    const failing = this.#failing
    const place = this.#batch ? this.#place.slice(0, this.#place.lastIndexOf(' ')) : live.place()
    const commands = [...this.#counts.take(project, id, wallMs()), ...(this.#batch ? [] : this.#background.take(this.#progress))]
    if (failing) commands.push(['HSET', this.#progress, 'failing', JSON.stringify(failing)])
    if (this.#gaps > 0) commands.push(['HINCRBY', this.#progress, 'gaps', this.#gaps])
    this.#isCounting = false
    this.#gaps = 0
    return { to: `${place} ${this.#commits + 1}`, commands, failing }
  }

  /** Lanes that run dry are filled. */
  #look(): void {
    this.#filling.fill([this.#ports.live, ...this.#background.lanes])
  }
}
