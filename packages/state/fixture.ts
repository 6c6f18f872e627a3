// Forced interleavings for the tests of the registry: what somebody else does just before a command of ours reaches Redis.
import type { Redis } from 'ioredis'

/** The same connection; `act` runs once, before the first call of this command (on this key), which waits for it. */
export function justBefore(redis: Redis, command: string, act: () => Promise<unknown>, key?: string): Redis {
  let acted = false
  return new Proxy(redis, {
    get(target, name) {
      const found: unknown = Reflect.get(target, name, target)
      if (typeof found !== 'function') return found
      if (name !== command) return found.bind(target) as unknown
      return async (...args: unknown[]) => {
        if (!acted && (key === undefined || args[0] === key)) {
          acted = true
          await act()
        }
        return Reflect.apply(found, target, args) as unknown
      }
    },
  })
}
