// The report consumer: what each device reported last, for lists of devices. Woken at most once a second, because it only ever
// writes the newest value; a clock that runs wrong cannot push "latest" aside, because it is judged by arrival.

import { judgedUs } from '../../packages/core/clock.ts'
import type { DeviceEvent } from '../../packages/core/event.ts'
import { acceptedUs, type LogEntry } from '../../packages/log/entry.ts'
import type { ReportedValue } from '../../packages/state/devicereport.ts'
import type { Consumer } from './drain.ts'

/** Values of devices that exist, where none newer is there: the same ones may be written again. */
type Write = (project: string, values: readonly ReportedValue[]) => Promise<void>

/** Remembers nothing: a device may be removed, or move away and come back, without a word to this process. */
export function reportConsumer(write: Write): Consumer {
  return {
    name: 'report',
    async take(project: string, entries: readonly LogEntry[]) {
      const values = [...newestOf(entries).values()].map(({ device, eventType, timeUs, frame }) => {
        const data = (JSON.parse(frame) as DeviceEvent).data[eventType]
        return { device, eventType, timeUs, data }
      })
      await write(project, values)
      return []
    },
    forget() {},
  }
}

type Newest = { readonly device: string; readonly eventType: string; readonly timeUs: number; readonly frame: string }

/** The newest event of each device and type; of two at the same time the later in the log. */
function newestOf(entries: readonly LogEntry[]): Map<string, Newest> {
  const newest = new Map<string, Newest>()
  for (const entry of entries)
    for (const { device, eventType, timeUs: sentUs, frame } of entry.events) {
      if (eventType === 'labelsChanged') continue
      const series = `${device}\t${eventType}`
      const timeUs = judgedUs(sentUs, acceptedUs(entry.id))
      const before = newest.get(series)
      if (!before || timeUs >= before.timeUs) newest.set(series, { device, eventType, timeUs, frame })
    }
  return newest
}
