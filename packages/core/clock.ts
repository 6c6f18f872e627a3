// Device clocks: which event times are believed.

/** Batteries come back in 1970 and some clocks in 2000-01-01: before this nothing is believed. */
export const EARLIEST_US = Date.UTC(2000, 0, 2) * 1000
/** Network delay never makes an event come from the future; a skewed clock does. */
const MAX_AHEAD_US = 600_000_000

/** Whether an event's own time can be right, given when it was accepted. */
export function isPlausible(timeUs: number, acceptedUs: number): boolean {
  return timeUs >= EARLIEST_US && timeUs <= acceptedUs + MAX_AHEAD_US
}

/** The time by which an event is judged: its own, or that of its arrival when its clock must be wrong (rules.md "Correctness"). */
export function judgedUs(timeUs: number, acceptedUs: number): number {
  return isPlausible(timeUs, acceptedUs) ? timeUs : acceptedUs
}
