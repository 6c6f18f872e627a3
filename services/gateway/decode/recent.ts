// Small things of many senders that a format remembers (the last press, the last packet): of so many at most, who came first goes first. Each
// has an entry of its own, so that two gateways that hear of two of them lose nothing. They are a convenience: where there is little room they
// are not kept on disk, and readings are taken all the same.
import { GROUP, type Memory } from './format.ts'

/** Far from what a memory holds (memory.ts): buttons in one project. */
const MAX_SENDERS = 2000

/** Of what a memory takes: the rest is for what readings cannot be read without. */
const MAX_FULLNESS = 0.5

/** `order`: higher than that of all who came before. */
type Recent = readonly [value: unknown, order: number]

/** @param kind of what. */
export function recent(memory: Memory, kind: string, key: string): unknown {
  return (known(memory, keyOf(kind, key)) as Recent | undefined)?.[0]
}

/** As `memory.set`, where there is room. */
export function setRecent(memory: Memory, kind: string, key: string, value: unknown): void {
  const before = known(memory, keyOf(kind, key)) as Recent | undefined
  setIfRoom(memory, keyOf(kind, key), [value, before?.[1] ?? nextOf(memory, kind)])
}

/** As `memory.get`, of what was set so. */
export function known(memory: Memory, key: string): unknown {
  return memory.get(key) ?? memory.noted(key)
}

/** As `memory.set`; where there is little room, only this process knows it, for a while. */
export function setIfRoom(memory: Memory, key: string, value: unknown): void {
  // With an entry and a size for who has a memory of its own.
  const more = { keys: 2, chars: 2 * key.length + JSON.stringify(value).length }
  const hasRoom = memory.fullness(more) <= MAX_FULLNESS
  memory.set(key, hasRoom ? value : undefined)
  memory.note(key, hasRoom ? undefined : value)
}

/** Makes room as well. */
function nextOf(memory: Memory, kind: string): number {
  const all = memory.entries(keyOf(kind, '')) as readonly (readonly [string, Recent])[]
  let next = 0
  for (const [, [, order]] of all) next = Math.max(next, order + 1)
  if (all.length >= MAX_SENDERS) {
    const oldest = all.toSorted(([, [, a]], [, [, b]]) => a - b)
    for (const [key] of oldest.slice(0, 1 + all.length - MAX_SENDERS)) memory.set(key, undefined)
  }
  return next
}

/** Whether this was told before. No repeat is a payload that told it itself: some of it was refused then, and it is decoded again. */
export function isRepeat(memory: Memory, kind: string, key: string, value: unknown): boolean {
  return !memory.isReplay && recent(memory, kind, key) === value
}

/** Whether a packet of a sender has not come before: several gateways hear the same one. One without a number is new. */
export function isNewPacket(memory: Memory, sender: string, packet: unknown): boolean {
  if (typeof packet !== 'number') return true
  if (isRepeat(memory, 'packet', sender, packet)) return false
  setRecent(memory, 'packet', sender, packet)
  return true
}

function keyOf(kind: string, key: string): string {
  return `${kind}${GROUP}${key}`
}
