// How long a thread has really worked: on a machine that is busy elsewhere, code is not slow for having waited. Linux tells; elsewhere it is
// the time on the wall.
import { readFileSync, readlinkSync } from 'node:fs'

const CAN_TELL = process.platform === 'linux'

/** Where the system tells the work of the calling thread, for any thread of this process to read; undefined: nowhere. */
export function workOfThread(): string | undefined {
  if (!CAN_TELL) return undefined
  try {
    const [, , thread] = readlinkSync('/proc/thread-self').split('/')
    const path = `/proc/self/task/${thread}/schedstat`
    return workMs(path) === undefined ? undefined : path
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === undefined) throw error
    return undefined
  }
}

/** Undefined: the thread has ended, or the system keeps no account. */
export function workMs(path: string): number | undefined {
  try {
    const ns = Number(readFileSync(path, 'latin1').split(' ', 1)[0])
    return Number.isFinite(ns) && ns > 0 ? ns / 1e6 : undefined
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === undefined) throw error
    return undefined
  }
}
