// Bluetooth devices behind the script `ble-shelly-blu` that Shelly offers: BTHome under the names of the script, a list where there are some of
// a kind.
import { PRESSES } from './bthomeobject.ts'
import type { Memory } from './format.ts'
import { channelOf, deviceOf } from './measure.ts'
import type { Parts } from './part.ts'
import { isNewPacket } from './recent.ts'
import type { Fields } from './text.ts'

const NO_MEASURES: ReadonlySet<string> = new Set('address encryption BTHome_version pid model channel button dimmer dimmersteps'.split(' '))
const NAMES: ReadonlyMap<string, readonly [name: string, unit?: string]> = new Map([
  ['atm. pressure', ['pressure', 'hPa']],
  ['raining', ['rain']],
])
/** Yes or no, as 1 and 0. */
const STATES: ReadonlySet<string> = new Set(['raining', 'motion', 'window'])

const MAX_OF_A_KIND = 16

export function blu(parts: Parts, address: string, data: Fields, memory: Memory): void {
  const device = deviceOf(address.toLowerCase())
  for (const [field, value] of Object.entries(data))
    if (!NO_MEASURES.has(field)) for (const [i, one] of [value].flat().slice(0, MAX_OF_A_KIND).entries()) put(parts, device, field, one, i)
  if (isNewPress(device, data, memory)) pressed(parts, device, data)
}

function put(parts: Parts, device: string, field: string, value: unknown, i: number): void {
  const [name, unit] = NAMES.get(field) ?? [field]
  // A weather station says the speed of the wind, and then that of its gusts.
  if (field === 'wind speed') parts.put(device, i === 0 ? 'windSpeed' : 'windGust', i > 1 ? undefined : value)
  else if (STATES.has(field) && (value === 0 || value === 1)) parts.put(numbered(device, i), name, value === 1)
  else parts.put(numbered(device, i), name, value, unit)
}

function numbered(device: string, i: number): string {
  return i === 0 ? device : channelOf(device, i + 1)
}

/** Some Shellys may hear one packet. */
function isNewPress(device: string, { pid, button, dimmer }: Fields, memory: Memory): boolean {
  if (!hasPress(button) && !hasPress(dimmer)) return false
  return isNewPacket(memory, device, pid)
}

function hasPress(value: unknown): boolean {
  return [value].flat().some(one => typeof one === 'number' && one > 0)
}

function pressed(parts: Parts, device: string, { button, dimmer, dimmersteps: steps }: Fields): void {
  for (const [i, press] of [button].flat().slice(0, MAX_OF_A_KIND).entries())
    if (typeof press === 'number' && press > 0)
      parts.measure(numbered(device, i), { name: 'action', value: PRESSES[press] ?? `press_${press}` })
  if (typeof dimmer !== 'number' || dimmer === 0 || hasPress(button)) return
  parts.measure(device, { name: 'action', value: dimmer === 1 ? 'rotate_left' : 'rotate_right' })
  if (typeof steps === 'number') parts.rest(device, 'steps', steps)
}
