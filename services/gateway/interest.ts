// Whether anybody is subscribed to what devices publish as events. Most installations have nobody who is, and then an event needs no
// broker on its way to the log.

/** Beyond this nobody compares: there is somebody, most likely. */
const MAX_COMPARED = 20

export class Interest {
  /** By project: filters that can match ingest topics, and how often each is subscribed to. */
  readonly #projects = new Map<string, Map<string, number>>()
  /** By wildcards where a project's name stands. */
  #everywhere = 0

  add(filter: string): void {
    this.#count(filter, 1)
  }

  remove(filter: string): void {
    this.#count(filter, -1)
  }

  /** @param topic in its full form. */
  has(project: string, topic: string): boolean {
    if (this.#everywhere > 0) return true
    const filters = this.#projects.get(project)
    if (!filters) return false
    if (filters.size > MAX_COMPARED) return true
    const levels = topic.split('/')
    for (const filter of filters.keys()) if (matches(filter.split('/'), levels)) return true
    return false
  }

  #count(filter: string, change: number): void {
    const [root, project, kind] = filter.split('/')
    if (root === '#' || root === '+' || (root === 'projects' && (project === '#' || project === '+'))) {
      this.#everywhere = Math.max(0, this.#everywhere + change)
      return
    }
    if (root !== 'projects' || project === undefined || (kind !== 'devices' && kind !== '+' && kind !== '#')) return
    const filters = this.#projects.get(project) ?? new Map<string, number>()
    const count = (filters.get(filter) ?? 0) + change
    if (count > 0) filters.set(filter, count)
    else filters.delete(filter)
    if (filters.size > 0) this.#projects.set(project, filters)
    else this.#projects.delete(project)
  }
}

function matches(filter: readonly string[], topic: readonly string[]): boolean {
  for (const [i, level] of filter.entries()) {
    if (level === '#') return true
    if (i >= topic.length || (level !== '+' && level !== topic[i])) return false
  }
  return filter.length === topic.length
}

type Emitter = {
  on(filter: string, listener: unknown, done?: () => void): unknown
  removeListener(filter: string, listener: unknown, done?: () => void): unknown
}
type Named = { readonly id: string }
type Store = {
  addSubscriptions(client: Named, subscriptions: readonly { readonly topic: string }[]): Promise<void>
  removeSubscriptions(client: Named, topics: readonly string[]): Promise<void>
  cleanSubscriptions(client: Named): Promise<void>
}

/**
 * Follows the subscriptions of this process: those of connections, and those that are kept for clients which are away. Asked for before
 * anything else changes what the broker does with them.
 */
export function watchInterest(broker: object): Interest {
  const { mq, persistence: store } = broker as { mq: Emitter; persistence: Store }
  const interest = new Interest()
  const on = mq.on.bind(mq)
  const off = mq.removeListener.bind(mq)
  mq.on = (filter, listener, done) => {
    interest.add(filter)
    return on(filter, listener, done)
  }
  mq.removeListener = (filter, listener, done) => {
    interest.remove(filter)
    return off(filter, listener, done)
  }
  watchKept(store, interest)
  return interest
}

function watchKept(store: Store, interest: Interest): void {
  const kept = new Map<string, Set<string>>()
  const add = store.addSubscriptions.bind(store)
  const remove = store.removeSubscriptions.bind(store)
  const clean = store.cleanSubscriptions.bind(store)
  const forget = (id: string, topics: Iterable<string>) => {
    const of = kept.get(id)
    for (const topic of topics) if (of?.delete(topic)) interest.remove(topic)
    if (of?.size === 0) kept.delete(id)
  }
  store.addSubscriptions = (client, subscriptions) => {
    const of = kept.get(client.id) ?? new Set<string>()
    if (subscriptions.length > 0) kept.set(client.id, of)
    for (const { topic } of subscriptions) {
      if (!of.has(topic)) interest.add(topic)
      of.add(topic)
    }
    return add(client, subscriptions)
  }
  store.removeSubscriptions = (client, topics) => {
    forget(client.id, topics)
    return remove(client, topics)
  }
  store.cleanSubscriptions = client => {
    forget(client.id, [...(kept.get(client.id) ?? [])])
    return clean(client)
  }
}
