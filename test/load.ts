// Load on a door, and the account of it: which values were acknowledged, so that they can be looked for afterwards.
import type { MqttClient } from 'mqtt'

export type Load = {
  /** Values whose PUBACK has come. */
  readonly acked: ReadonlySet<number>
  /** Publishes no more; resolves when nothing is outstanding or the connection is gone. */
  end(): Promise<void>
}

/** Keeps this many publishes of 0, 1, 2 … under way, as bare temperatures of one device, from `first` on. */
export function publishOn(client: MqttClient, device: string, { first = 0, window = 50 } = {}): Load {
  const acked = new Set<number>()
  let next = first
  let outstanding = 0
  let ending = false
  let settle = () => {}
  const settled = new Promise<void>(resolve => {
    settle = resolve
  })
  const publish = () => {
    while (!ending && outstanding < window) {
      const value = next++
      outstanding++
      client.publish(`d/${device}/temperature`, String(value), { qos: 1 }, error => {
        outstanding--
        if (!error) acked.add(value)
        if (ending && outstanding === 0) settle()
        else publish()
      })
    }
  }
  // What was not acknowledged when the connection went may or may not have arrived.
  client.once('close', () => {
    ending = true
    settle()
  })
  publish()
  return {
    acked,
    end: () => {
      ending = true
      if (outstanding === 0) settle()
      return settled
    },
  }
}
