// What the broker keeps of sessions that outlive their connections (clean session 0), in memory: their subscriptions.
import type { Aedes, Client, Subscription } from 'aedes'

/** The part of aedes' persistence that is changed here; aedes asks for each of these by name, each time. */
type Store = {
  addSubscriptions(client: Client, subscriptions: readonly Subscription[]): Promise<void>
  removeSubscriptions(client: Client, topics: readonly string[]): Promise<void>
}

export class Kept {
  readonly #store: Store
  readonly #granted = new WeakSet<Subscription>()

  constructor(broker: Aedes) {
    const { persistence: store } = broker as unknown as { persistence: Store }
    this.#store = store
    const add = store.addSubscriptions.bind(store)
    // For each subscription that is granted aedes keeps all of its packet, so that messages are queued for the refused ones too.
    store.addSubscriptions = (client, subscriptions) =>
      add(
        client,
        subscriptions.filter(one => this.#granted.has(one)),
      )
  }

  granted(subscription: Subscription): void {
    this.#granted.add(subscription)
  }

  /** One that was granted before is for nothing now but to fill a queue. */
  refused(client: Client, { topic }: Subscription): Promise<void> {
    return this.#store.removeSubscriptions(client, [topic])
  }
}
