// What a payload may hold that a device has sent: events of its own and of its channels. Whoever decodes for a caller passes the result through here.
import { Failure } from '../../packages/core/failure.ts'
import { type Caller, isPartOf, mayActAs } from '../../packages/identity/identity.ts'
import { type Decoded, elementOf, type Fit, type Incoming, type Unfit } from './decode/event.ts'
import type { MayTell } from './decoder/decoderun.ts'

/** Events of other devices become refusals, each by itself; the same list where there are none. Developers may publish for all. */
export function ownOnly(caller: Pick<Caller, 'roles' | 'device'>, decoded: readonly Decoded[]): readonly Decoded[] {
  if (!caller.device) return decoded
  const own = decoded.map(allowed(caller))
  return own.every((one, i) => one === decoded[i]) ? decoded : own
}

/** What the quarantine keeps of it, so that what it may not send is not accepted later either. */
export function senderOf({ device }: Pick<Caller, 'device'>): { readonly sender?: string } {
  return device ? { sender: device.id } : {}
}

/** As `ownOnly`, of one at a time. */
export function allowed(caller: Pick<Caller, 'roles' | 'device'>): (one: Decoded) => Decoded {
  const { device } = caller
  if (!device) return one => one
  const isOthers = (event: Incoming) => !mayActAs(caller, event.project, event.device)
  // Nor does another device hear of what is wrong with it.
  const unfit = (one: Unfit) => (one.device === undefined || isPartOf(device.id, one.device) ? one : { ...one, device: device.id })
  return one => {
    if (!('event' in one)) return unfit(one)
    return isOthers(one.event) ? refused(device.id, one) : one
  }
}

/**
 * Whether what a payload told for later is its sender's to tell, and what it asks is sent. A device tells itself only (ownmemory.ts), in payloads
 * that hold nothing of others, and asks something of others only in those that show that they are its own.
 */
export function mayTell(caller: Pick<Caller, 'roles' | 'device'>, decoded: readonly Decoded[]): MayTell {
  const { device } = caller
  if (!device) return { tell: true, ask: true }
  const isOwn = (one: Decoded) =>
    'event' in one ? mayActAs(caller, one.event.project, one.event.device) : one.device !== undefined && isPartOf(device.id, one.device)
  const tell = decoded.every(isOwn)
  return { tell, ask: tell && decoded.some(one => 'event' in one) }
}

function refused(id: string, fit: Fit): Decoded {
  const { device } = fit.event
  const failure = new Failure(
    'forbidden',
    `device ${id} publishes its own events and those of its channels, ${id}:…, and none of device ${device.slice(0, 100)}`,
    {
      field: 'device',
    },
  )
  return { failure, element: elementOf(fit), device: id }
}
