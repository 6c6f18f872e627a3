// What a payload may hold that a device has sent: events of its own. Whoever decodes for a caller passes the result through here.
import { Failure } from '../../packages/core/failure.ts'
import { type Caller, mayActAs } from '../../packages/identity/identity.ts'
import type { Decoded, Incoming } from './decode/event.ts'

/** Events of other devices become refusals, each by itself; of developers, who may publish for all, nothing is looked at. */
export function ownOnly(caller: Pick<Caller, 'roles' | 'device'>, decoded: Decoded[]): Decoded[] {
  return caller.device ? decoded.map(allowed(caller)) : decoded
}

/** As `ownOnly`, of one at a time. */
export function allowed(caller: Pick<Caller, 'roles' | 'device'>): (one: Decoded) => Decoded {
  const { device } = caller
  if (!device) return one => one
  const isOthers = (event: Incoming) => !mayActAs(caller, event.project, event.device)
  return one => ('event' in one && isOthers(one.event) ? refused(device.id, one.event) : one)
}

function refused(id: string, { device, frame }: Incoming): Decoded {
  const failure = new Failure('forbidden', `device ${id} publishes its own events, and none of device ${device.slice(0, 100)}`, {
    field: 'device',
  })
  return { failure, element: frame }
}
