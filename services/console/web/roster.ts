// Which devices the page holds: all of a small project; of a large one the first thousand, what was searched for and what was looked at.
import { type Device, type Telltale, TelltaleError } from '../../../packages/client/index.ts'
import type { DeviceEvent } from '../../../packages/core/event.ts'
import { Fleet } from './fleet.ts'
import { deviceIdOf } from './format.ts'

export type RosterPorts = {
  readonly client: Telltale
  /** Runs a call whose failure a person should read; false when it failed. */
  readonly guard: (work: () => Promise<unknown>) => Promise<boolean>
  readonly changed: () => void
  /** The whole list is not read again before this; 5 s. */
  readonly reloadEveryMs?: number
}

/** Ten calls of the 25 in 5 s that a person has. */
export const MAX_DEVICES = 1000
const PAGE = 100
/** A call looks at some thousand devices, whether they match or not. */
const SEARCH_CALLS = 10
const SEARCH_AFTER_MS = 300
const FETCH_SINGLY = 10
const FETCH_AFTER_MS = 300
const RELOAD_EVERY_MS = 5000
const MAX_QUERY = 200

type Search = { readonly word: string; readonly found: Set<string>; pageToken: string | undefined }

export class Roster {
  readonly fleet = new Fleet()
  loaded = false
  /** There are devices that are not here: the server is asked for those that a filter wants. */
  isPartial = false
  isSearching = false
  readonly #ports: RosterPorts
  readonly #reloadEveryMs: number
  readonly #looked = new Set<string>()
  readonly #unknown = new Set<string>()
  /** Could not be asked for: the next of their events does it again. */
  readonly #unfetched = new Set<string>()
  #first: ReadonlySet<string> = new Set()
  #search: Search | undefined
  #loading = false
  #isOutdated = false
  #loadedAt = 0
  #loadTimer: ReturnType<typeof setTimeout> | undefined
  #fetchTimer: ReturnType<typeof setTimeout> | undefined
  #searchTimer: ReturnType<typeof setTimeout> | undefined
  #closed = false

  constructor(ports: RosterPorts) {
    this.#ports = ports
    this.#reloadEveryMs = ports.reloadEveryMs ?? RELOAD_EVERY_MS
  }

  close(): void {
    this.#closed = true
    for (const timer of [this.#loadTimer, this.#fetchTimer, this.#searchTimer]) clearTimeout(timer)
  }

  /** What is asked for during a load is loaded after it: it may have been behind the page that was being read. */
  async load(): Promise<void> {
    this.#isOutdated = this.#loading
    if (this.#loading) return
    this.#loading = true
    try {
      const done = await this.#ports.guard(() => this.#loadFirst())
      this.loaded ||= done
      if (done && this.isPartial && this.#search) this.#startSearch(this.#search.word)
    } finally {
      this.#loading = false
      this.#loadedAt = Date.now()
    }
    clearTimeout(this.#loadTimer)
    if (this.#isOutdated && !this.#closed) this.#loadTimer = setTimeout(() => void this.load(), this.#reloadEveryMs)
    this.#ports.changed()
  }

  async #loadFirst(): Promise<void> {
    // A device that appears in the stream while the list is read may not be on it.
    const before = this.fleet.rows().map(({ id }) => id)
    const first = new Set<string>()
    let pageToken: string | undefined
    while (pageToken !== '' && first.size < MAX_DEVICES) {
      const page = await this.#ports.client.devices.list({ pageSize: PAGE, ...(pageToken === undefined ? {} : { pageToken }) })
      this.#put(page.devices, first)
      pageToken = page.nextPageToken
    }
    this.#first = first
    this.isPartial = pageToken !== ''
    const kept = (id: string) => first.has(id) || (this.isPartial && this.#isWanted(id))
    const candidates = this.isPartial ? this.fleet.rows().map(({ id }) => id) : before
    this.fleet.forget(candidates.filter(id => !kept(id)))
  }

  #isWanted(id: string): boolean {
    return this.#looked.has(id) || this.#search?.found.has(id) === true
  }

  #put(devices: readonly Device[], ids: Set<string>): void {
    for (const device of devices) {
      this.fleet.putDevice(device)
      ids.add(deviceIdOf(device.name))
    }
    this.#ports.changed()
  }

  /** Keeps a row current; a device that has none gets one as long as there is room. */
  putEvent(event: DeviceEvent): void {
    const id = deviceIdOf(event.targetName)
    if (this.fleet.row(id) === undefined && (this.isPartial || this.fleet.size >= MAX_DEVICES)) this.isPartial ||= this.loaded
    else if (!this.fleet.putEvent(event) || this.#unfetched.delete(id)) this.#askFor(id)
  }

  /** Has a row for the device, if there is such a device, and keeps it. */
  async look(id: string): Promise<boolean> {
    this.#looked.add(id)
    if (this.fleet.row(id) === undefined) {
      await this.#ports.guard(() => this.#fetch(id))
      this.#ports.changed()
    }
    return this.fleet.row(id) !== undefined
  }

  #askFor(id: string): void {
    this.#unknown.add(id)
    this.#fetchTimer ??= setTimeout(() => void this.#fetchUnknown(), FETCH_AFTER_MS)
  }

  /** A few devices are fetched one by one; for many the list is cheaper, but not again and again. */
  async #fetchUnknown(): Promise<void> {
    const ids = [...this.#unknown]
    const many = ids.length > FETCH_SINGLY
    const waitMs = this.#loadedAt + this.#reloadEveryMs - Date.now()
    if (this.#loading || (many && waitMs > 0)) {
      this.#fetchTimer = setTimeout(() => void this.#fetchUnknown(), Math.max(waitMs, FETCH_AFTER_MS))
      return
    }
    this.#fetchTimer = undefined
    this.#unknown.clear()
    if (many) await this.load()
    else await this.#ports.guard(() => Promise.all(ids.map(id => this.#fetch(id))))
    this.#ports.changed()
  }

  /** Each for itself: what became of the others does not matter. One that is not there any more is forgotten. */
  async #fetch(id: string): Promise<void> {
    try {
      this.fleet.putDevice(await this.#ports.client.devices.get(id))
    } catch (error) {
      if (error instanceof TelltaleError && error.code === 'not_found') {
        this.fleet.forget([id])
        return
      }
      this.#unfetched.add(id)
      throw error
    }
  }

  /** What is typed into the filter. The page filters what it has; of a part the server is asked, for one of the words. */
  search(text: string): void {
    const word = this.#wordOf(text)
    if (word === (this.#search?.word ?? '')) return
    clearTimeout(this.#searchTimer)
    if (word === '') this.#forgetFound()
    else if (!this.isPartial) this.#search = { word, found: new Set(), pageToken: undefined }
    else {
      this.#begin(word)
      this.#searchTimer = setTimeout(() => void this.searchOn(), SEARCH_AFTER_MS)
    }
  }

  /** The last search has not come to the end of the devices. */
  get canSearchOn(): boolean {
    return this.#search !== undefined && this.#search.pageToken !== '' && !this.isSearching
  }

  /** Finds a page of devices more, or as many as a few calls find. */
  async searchOn(): Promise<void> {
    const search = this.#search
    if (search === undefined || this.#closed) return
    this.isSearching = true
    this.#ports.changed()
    await this.#ports.guard(() => this.#find(search))
    if (this.#search !== search) return
    this.isSearching = false
    this.#ports.changed()
  }

  async #find(search: Search): Promise<void> {
    const enough = search.found.size + PAGE
    for (let calls = 0; calls < SEARCH_CALLS && search.pageToken !== '' && search.found.size < enough; calls++) {
      const { word, pageToken } = search
      const page = await this.#ports.client.devices.list({ query: word, pageSize: PAGE, ...(pageToken === undefined ? {} : { pageToken }) })
      // Another word was typed meanwhile.
      if (this.#search !== search) return
      this.#put(page.devices, search.found)
      search.pageToken = page.nextPageToken
    }
  }

  #startSearch(word: string): void {
    this.#begin(word)
    void this.searchOn()
  }

  #begin(word: string): void {
    this.#forgetFound()
    this.#search = { word, found: new Set(), pageToken: undefined }
    this.isSearching = true
  }

  #forgetFound(): void {
    const { found = new Set<string>() } = this.#search ?? {}
    this.#search = undefined
    this.isSearching = false
    if (this.isPartial) this.fleet.forget([...found].filter(id => !this.#first.has(id) && !this.#looked.has(id)))
  }

  /** The one that the fewest of the loaded devices have; the server knows `key=value` as two. */
  #wordOf(text: string): string {
    const words = text
      .toLowerCase()
      .split(/[\s=]+/)
      .filter(Boolean)
    const counts = new Map(words.map(word => [word, this.fleet.rows().filter(({ search }) => search.includes(word)).length]))
    const rarer = (a: string, b: string) => (counts.get(a) ?? 0) - (counts.get(b) ?? 0) || b.length - a.length
    return (words.sort(rarer)[0] ?? '').slice(0, MAX_QUERY)
  }
}
