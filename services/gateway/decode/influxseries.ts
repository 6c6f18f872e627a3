// Which device a line of the line protocol is of. To Influx all tags together are the series; here one tag names the device, and those by
// which it says the same measurement several times (of each processor, disk, interface) name a device beside it.
import type { Place } from './event.ts'
import type { Point } from './influxpoint.ts'
import { channelOf, deviceOf } from './measure.ts'

export type SeriesTags = { readonly deviceTag?: readonly string[]; readonly channelTag?: readonly string[] }

/** `saidBy`: the tag that is the device as a whole, which need not be told again. */
export type Series = { readonly device: string; readonly saidBy: string | undefined }

/** The first of these that a line has names the device. */
export const DEVICE_TAGS = ['device', 'device_id', 'sensor', 'id', 'host']
export const CHANNEL_TAGS = ['channel', 'chip', 'feature', 'cpu', 'core', 'interface', 'path', 'instance']

/**
 * What Telegraf's plugins measure of the host that they run on, with the tags that tell it apart. A `device`, `sensor` or `id` is a part of
 * that host: `sda` is another disk on each.
 */
const TELEGRAF: ReadonlyMap<string, readonly string[]> = new Map([
  ['cpu', ['cpu']],
  ['disk', ['path']],
  ['diskio', ['name']],
  ['docker_container_blkio', ['container_name', 'device']],
  ['docker_container_cpu', ['container_name', 'cpu']],
  ['docker_container_health', ['container_name']],
  ['docker_container_mem', ['container_name']],
  ['docker_container_net', ['container_name', 'network']],
  ['docker_container_status', ['container_name']],
  ['hddtemp', ['device']],
  ['interrupts', ['irq', 'cpu']],
  ['ipmi_sensor', ['name']],
  ['mdstat', ['Name']],
  ['net', ['interface']],
  ['nstat', ['name']],
  ['nvidia_smi', ['index']],
  ['ping', ['url']],
  ['procstat', ['process_name', 'pid']],
  ['sensors', ['chip', 'feature']],
  ['smart_attribute', ['device', 'name']],
  ['smart_device', ['device']],
  ['soft_interrupts', ['irq', 'cpu']],
  ['systemd_units', ['name']],
  ['temp', ['sensor', 'device']],
  ['wireless', ['interface']],
])
const HOST = ['host']

/** Of all together: that is the device itself. */
const WHOLE: ReadonlySet<string> = new Set(['cpu-total', '_Total'])

export function seriesOf(
  { measurement, tags }: Point,
  { device: placed, elseDevice }: Pick<Place, 'device' | 'elseDevice'>,
  { deviceTag, channelTag }: SeriesTags,
): Series {
  const ofPlugin = TELEGRAF.get(measurement)
  const deviceTags = deviceTag ?? (ofPlugin && tags.has('host') ? HOST : DEVICE_TAGS)
  const tag = placed === undefined ? deviceTags.find(one => tags.has(one)) : undefined
  const said = placed ?? (tag === undefined ? (elseDevice ?? measurement) : (tags.get(tag) as string))
  const whole = deviceOf(said)
  const device = (channelTag ?? ofPlugin ?? CHANNEL_TAGS).reduce((before, one) => {
    const value = one === tag ? undefined : tags.get(one)
    return value === undefined || WHOLE.has(value) ? before : channelOf(before, distinct(value))
  }, whole)
  return { device, saidBy: whole === said ? tag : undefined }
}

const AMBIGUOUS = /[%:+#]/g

/** `/` becomes `:` (channelOf), so what is one already, or cannot be, is written otherwise: no two values are one device. */
function distinct(value: string): string {
  return value.replace(AMBIGUOUS, encodeURIComponent)
}
