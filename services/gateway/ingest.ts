// Between the doors and accept: what is valid goes to the log, what is not goes to the quarantine with its reason.
import { Failure } from '../../packages/core/failure.ts'
import type { Refused } from '../../packages/state/quarantine.ts'
import type { Accept, Settled } from './accept.ts'
import type { Budget } from './budget.ts'
import type { ClockWatch } from './clockwatch.ts'
import type { Decoded, Incoming } from './decode/event.ts'

export type IngestPorts = {
  readonly accept: Accept
  /** Resolves when the refusals are on disk. */
  quarantine(project: string, refused: readonly Refused[]): Promise<void>
  rejected(count: number): void
  readonly budget: Pick<Budget, 'admits' | 'ask'>
  readonly clocks: Pick<ClockWatch, 'observe'>
}

/** What became of one element: nothing when it was accepted. */
export type Outcome = Failure | undefined

export type Source = {
  readonly project: string
  readonly source: string
  readonly keyId: string
  /** Key for events that carry neither id nor time of their own, by their place in the payload. */
  deliveryKey(index: number): string
  /** Whether the delivery may be a repeat, so that what of it was seen before is dropped. */
  mayRepeat(): boolean
}

/**
 * Settles once, when every element is on disk: in the log or in the quarantine. The failure is set when nothing can be
 * promised and the whole delivery must be sent again (harmless: what was accepted is recognised).
 */
export function ingest(ports: IngestPorts, decoded: readonly Decoded[], from: Source, settled: Told): void {
  if (decoded.every(one => !('event' in one) || ports.budget.admits(one.event))) {
    settle(ports, decoded, from, settled)
    return
  }
  Promise.all(decoded.map(one => withinBudget(ports, one))).then(
    asked => settle(ports, asked, from, settled),
    (error: unknown) => settled(unavailable(error, 'the budget of the project cannot be read'), []),
  )
}

async function withinBudget({ budget }: IngestPorts, one: Decoded): Promise<Decoded> {
  const failure = 'event' in one ? await budget.ask(one.event) : undefined
  return failure && 'event' in one ? { failure, element: one.event.frame } : one
}

type Told = (failure: Failure | undefined, outcomes: readonly Outcome[]) => void

function settle(ports: IngestPorts, decoded: readonly Decoded[], from: Source, settled: Told): void {
  const [only] = decoded
  if (only && decoded.length === 1 && 'event' in only) {
    take(ports, only.event, 0, from, failure => settled(failure, ACCEPTED))
    return
  }
  const outcomes: Outcome[] = new Array<Outcome>(decoded.length).fill(undefined)
  const refused: Refused[] = []
  let open = decoded.length
  let unsafe: Failure | undefined
  const done: Settled = failure => {
    unsafe ??= failure
    if (--open === 0) settled(unsafe, outcomes)
  }
  for (const [i, one] of decoded.entries()) {
    if ('event' in one) {
      take(ports, one.event, i, from, done)
    } else {
      outcomes[i] = one.failure
      refused.push(refusal(from, one.failure, Buffer.from(one.element)))
    }
  }
  if (refused.length === 0) return
  open -= refused.length - 1
  setAside(ports, from.project, refused, done)
}

/** The usual case, one good event. */
const ACCEPTED: readonly Outcome[] = [undefined]

function take({ accept, clocks }: IngestPorts, event: Incoming, index: number, from: Source, done: Settled): void {
  const { sentUs, arrivedUs } = event
  if (sentUs !== undefined) clocks.observe(event.project, event.device, sentUs - arrivedUs, arrivedUs)
  if (event.key !== undefined) {
    accept.add(event, event.key, true, done)
    return
  }
  const key = from.deliveryKey(index)
  accept.add(event, key, from.mayRepeat(), done)
}

export function refusal(from: Pick<Source, 'source' | 'keyId'>, failure: Failure, payload: Buffer): Refused {
  return { source: from.source, keyId: from.keyId, field: failure.field ?? '', reason: failure.message, payload }
}

/** Puts refusals on disk, then settles. */
export function setAside(ports: IngestPorts, project: string, refused: readonly Refused[], settled: Settled): void {
  // What is refused takes as much room as what is accepted.
  if (ports.accept.refusal) {
    settled(ports.accept.refusal)
    return
  }
  ports.rejected(refused.length)
  ports.quarantine(project, refused).then(
    () => settled(),
    (error: unknown) => settled(unavailable(error, 'the quarantine cannot be written')),
  )
}

function unavailable(error: unknown, what: string): Failure {
  return error instanceof Failure ? error : new Failure('unavailable', what, { retryAfterMs: 1000, cause: error })
}
