// Reading a rule of DT's API (contracts.md 1.a.12): its clients send null for what is not set, and durations in seconds.
import { readDurationMs } from '../condition/input.ts'
import { invalid } from '../failure.ts'

/** What is not set is undefined. */
export function given(value: unknown): unknown {
  return value === null ? undefined : value
}

/** `900s`, as protobuf writes durations in JSON; undefined when it is not set. */
export function readSeconds(value: unknown, path: string): number | undefined {
  if (given(value) === undefined) return undefined
  if (typeof value !== 'string' || !/^\d+(\.\d{1,9})?s$/.test(value)) throw invalid(path, 'expected a duration in seconds such as "900s"')
  return readDurationMs(value, path)
}

export function formatSeconds(ms: number): string {
  return `${ms / 1000}s`
}
