// What a device is told of what was refused of it: published under `projects/{project}/devices/{device}/rejected`, not retained.
import { checkDevice } from '../../../packages/core/event.ts'
import { Failure } from '../../../packages/core/failure.ts'
import { type Refused, shownIn } from '../../../packages/state/quarantine.ts'

export type Rejection = { readonly device: string; readonly payload: Buffer }

/** Of one delivery: who sends thousands of wrong events at once is told of the first. */
const MAX_REJECTIONS = 20
const SHOWN_BYTES = 1024

export function rejectionsOf(refused: readonly Refused[], nowMs: number): Rejection[] {
  const time = new Date(nowMs).toISOString()
  const told = refused.flatMap(one => {
    const { source, payload, problems = [{ code: one.code ?? 'invalid', field: one.field, message: one.reason, device: one.device }] } = one
    const shown = shownIn(payload.subarray(0, SHOWN_BYTES), payload.length > SHOWN_BYTES)
    return problems.flatMap(({ device, ...problem }) =>
      device !== undefined && isDevice(device) ? [{ device, document: { time, source, ...problem, ...shown } }] : [],
    )
  })
  return told.slice(0, MAX_REJECTIONS).map(({ device, document }) => ({ device, payload: Buffer.from(JSON.stringify(document)) }))
}

/** As payloads say it, it may be anything. */
function isDevice(device: string): boolean {
  try {
    checkDevice(device)
    return true
  } catch (error) {
    if (error instanceof Failure) return false
    throw error
  }
}
