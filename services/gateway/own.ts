// What a payload may hold that a device has sent: events of its own. Whoever decodes for a caller passes the result through here.
import { Failure } from '../../packages/core/failure.ts'
import { type Caller, mayActAs } from '../../packages/identity/identity.ts'
import type { Decoded, Incoming, Unfit } from './decode/event.ts'

/** Events of other devices become refusals, each by itself; the same list where there are none. Developers may publish for all. */
export function ownOnly(caller: Pick<Caller, 'roles' | 'device'>, decoded: readonly Decoded[]): readonly Decoded[] {
  if (!caller.device) return decoded
  const own = decoded.map(allowed(caller))
  return own.every((one, i) => one === decoded[i]) ? decoded : own
}

/** As `ownOnly`, of one at a time. */
export function allowed(caller: Pick<Caller, 'roles' | 'device'>): (one: Decoded) => Decoded {
  const { device } = caller
  if (!device) return one => one
  const isOthers = (event: Incoming) => !mayActAs(caller, event.project, event.device)
  // Nor does another device hear of what is wrong with it.
  const unfit = (one: Unfit) => (one.device === undefined || one.device === device.id ? one : { ...one, device: device.id })
  return one => {
    if (!('event' in one)) return unfit(one)
    return isOthers(one.event) ? refused(device.id, one.event) : one
  }
}

/** Whether what a payload told for later is its sender's to tell: a device tells of itself only, in payloads that show that they are its own. */
export function mayTell(caller: Pick<Caller, 'roles' | 'device'>, decoded: readonly Decoded[]): boolean {
  const { device } = caller
  if (!device) return true
  const isOwn = (one: Decoded) => ('event' in one ? mayActAs(caller, one.event.project, one.event.device) : one.device === device.id)
  return decoded.some(one => 'event' in one) && decoded.every(isOwn)
}

function refused(id: string, { device, frame }: Incoming): Decoded {
  const failure = new Failure('forbidden', `device ${id} publishes its own events, and none of device ${device.slice(0, 100)}`, {
    field: 'device',
  })
  return { failure, element: frame, device: id }
}
