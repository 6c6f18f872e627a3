// How many connections an address holds: one machine alone cannot take all there are.
import { isIPv6 } from 'node:net'

/** What is counted as one: an IPv4 address, or the /64 that whoever has one IPv6 address has all of. */
export function neighbourhood(address: string): string {
  const [, v4] = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address) ?? []
  if (v4 !== undefined) return v4
  const [bare = ''] = address.split('%')
  if (!isIPv6(bare) || bare === '::1') return address
  const [before = '', after] = bare.split('::')
  const groups = before === '' ? [] : before.split(':')
  const last = after === undefined || after === '' ? [] : after.split(':')
  const zeros = after === undefined ? [] : Array.from({ length: Math.max(0, 8 - groups.length - last.length) }, () => '0')
  const four = [...groups, ...zeros, ...last].slice(0, 4)
  return `${four.map(group => Number.parseInt(group, 16).toString(16)).join(':')}::/64`
}

export class Addresses {
  readonly #limit: number
  readonly #open = new Map<string, number>()

  /** @param limit 0: none. */
  constructor(limit: number) {
    this.#limit = limit
  }

  /** False: it has too many already. */
  enter(address: string): boolean {
    const open = this.#open.get(address) ?? 0
    if (this.#limit > 0 && open >= this.#limit) return false
    this.#open.set(address, open + 1)
    return true
  }

  leave(address: string): void {
    const open = this.#open.get(address) ?? 0
    if (open > 1) this.#open.set(address, open - 1)
    else this.#open.delete(address)
  }
}
