// Small things of many senders that a format remembers (the last press, the last packet): of so many at most, who came first goes first.
import type { Memory } from './format.ts'

/** Far from what a memory holds (memory.ts): buttons in one project. */
const MAX_SENDERS = 2000

/** As `memory.set`. @param kind of what; its keys stand behind it. */
export function setRecent(memory: Memory, kind: string, key: string, value: unknown): void {
  if (memory.get(`${kind}/${key}`) === undefined) {
    const senders = (memory.get(`all/${kind}`) ?? []) as readonly string[]
    const all = [...senders.filter(one => one !== key), key]
    for (const gone of all.slice(0, -MAX_SENDERS)) memory.set(`${kind}/${gone}`, undefined)
    memory.set(`all/${kind}`, all.slice(-MAX_SENDERS))
  }
  memory.set(`${kind}/${key}`, value)
}

/** Whether this was told before. No repeat is a payload that told it itself: some of it was refused then, and it is decoded again. */
export function isRepeat(memory: Memory, kind: string, key: string, value: unknown): boolean {
  return !memory.isReplay && memory.get(`${kind}/${key}`) === value
}

/** Whether a packet of a sender has not come before: several gateways hear the same one. One without a number is new. */
export function isNewPacket(memory: Memory, sender: string, packet: unknown): boolean {
  if (typeof packet !== 'number') return true
  if (isRepeat(memory, 'packet', sender, packet)) return false
  setRecent(memory, 'packet', sender, packet)
  return true
}
