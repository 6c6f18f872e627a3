// Fresh identifiers: xids of this process, in growing order.
import { randomBytes } from 'node:crypto'
import { xid } from '../core/id.ts'

const process4 = randomBytes(4).readUInt32BE()
const process1 = randomBytes(1).readUInt8()
let counter = randomBytes(3).readUIntBE(0, 3)

/** A new 20-character xid: seconds, five random bytes of this process, a counter. */
export function newId(nowMs = Date.now()): string {
  counter = (counter + 1) & 0xffffff
  return xid(Math.floor(nowMs / 1000), process4, (process1 << 24) | counter)
}
