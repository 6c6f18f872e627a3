// Which messages of a stream the page holds: the newest and what comes, older ones when they are asked for, or those before a time.
import { type Message, type MessageQuery, type Telltale, TelltaleError } from '../../../packages/client/index.ts'

export type MessagesPorts = {
  readonly client: Pick<Telltale, 'streams'>
  readonly stream: string
  readonly changed: () => void
  readonly signedOut: () => void
}

export type Held = { readonly messages: readonly Message[]; readonly older: boolean }

const PAGE = 50
export const MAX_HELD = 1000

export class Messages {
  /** Undefined until something was loaded. */
  held: Held | undefined
  /** Only what was published before; as it was entered, in the time zone of the browser. */
  until = ''
  problem = ''
  readonly #ports: MessagesPorts
  #lastSeq = 0
  /** How many had been appended when it was last looked what came: the newest of them need not be kept any more. */
  #loadedTo = -1
  #work: Promise<Held> | undefined

  constructor(ports: MessagesPorts) {
    this.#ports = ports
  }

  get isBusy(): boolean {
    return this.#work !== undefined
  }

  /** What came since, if anything was appended. To be called now and then: what fails is tried again with the next call. */
  async follow(lastSeq: number): Promise<void> {
    this.#lastSeq = lastSeq
    if (this.isBusy || this.until !== '' || lastSeq <= this.#loadedTo) return
    if (await this.#run(this.#newer())) this.#loadedTo = Math.max(lastSeq, this.held?.messages[0]?.seq ?? 0)
  }

  async showOlder(): Promise<void> {
    if (!this.isBusy) await this.#run(this.#older())
  }

  /** To before this time; '': to the newest. */
  async jump(until: string): Promise<void> {
    this.until = until
    this.held = undefined
    this.#work = undefined
    this.#loadedTo = -1
    if (until === '') await this.follow(this.#lastSeq)
    else await this.#run(this.#load(endOf(until)))
  }

  /** When more came than a page, the newest page takes the place of the others. */
  async #newer(): Promise<Held> {
    const { held } = this
    const page = await this.#load({ afterSeq: held?.messages[0]?.seq ?? 0 })
    if (held === undefined || page.older) return page
    return { messages: [...page.messages, ...held.messages].slice(0, MAX_HELD), older: held.older }
  }

  async #older(): Promise<Held> {
    const messages = this.held?.messages ?? []
    const oldest = messages.at(-1)?.seq
    const page = await this.#load({ ...endOf(this.until), ...(oldest === undefined ? {} : { beforeSeq: oldest }) })
    return { messages: [...messages, ...page.messages], older: page.older }
  }

  async #load(query: MessageQuery): Promise<Held> {
    const { client, stream } = this.#ports
    const page = await client.streams.messages(stream, { ...query, pageSize: PAGE })
    return { messages: page.messages, older: page.nextPageToken !== '' }
  }

  /** False when it failed, or was overtaken by a jump. */
  async #run(work: Promise<Held>): Promise<boolean> {
    this.#work = work
    this.problem = ''
    this.#ports.changed()
    try {
      const held = await work
      if (this.#work !== work) return false
      this.held = held
      return true
    } catch (error) {
      if (this.#work === work) this.#failed(error)
      return false
    } finally {
      if (this.#work === work) this.#work = undefined
      this.#ports.changed()
    }
  }

  #failed(error: unknown): void {
    if (error instanceof TelltaleError && error.code === 'unauthenticated') this.#ports.signedOut()
    else this.problem = error instanceof Error ? error.message : String(error)
  }
}

function endOf(until: string): MessageQuery {
  const end = new Date(until)
  return until === '' || Number.isNaN(end.getTime()) ? {} : { endTime: end }
}
