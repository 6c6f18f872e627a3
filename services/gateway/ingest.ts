// Between the doors and accept: what is valid goes to the log, what is not goes to the quarantine with its reason.
import { Failure } from '../../packages/core/failure.ts'
import type { Again, DecodedBy, Problem, Refused } from '../../packages/state/quarantine.ts'
import type { Accept, Settled } from './accept.ts'
import type { Budget } from './check/budget.ts'
import type { ClockWatch } from './check/clockwatch.ts'
import { type Decoded, elementOf, type Incoming, type Unfit } from './decode/event.ts'
import { marksOf, partsOf } from './part.ts'

export type IngestPorts = {
  readonly accept: Accept
  /** What does not fit the schema of its event type is a failure in what this returns. A promise only where there is such a schema. */
  screen(project: string, decoded: readonly Decoded[]): readonly Decoded[] | Promise<readonly Decoded[]>
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
  /**
   * Key for what carries neither id nor time of its own, by which part of the payload it is: `{identity of the delivery}.{part}`. Of what is
   * separable that is its index, asked for in their order.
   */
  deliveryKey(part: number | string): string
  /** Whether the delivery may be a repeat, so that what of it was seen before is dropped. */
  mayRepeat(): boolean
  readonly clientId?: string
  readonly contentType?: string
  readonly decoder?: DecodedBy
  /** How it is decoded again; nothing: only its elements tell. */
  readonly again?: Omit<Again, 'delivery' | 'isElement' | 'isTold' | 'mayRepeat'>
  /** Its decoder was told something by it. */
  readonly isTold?: boolean
  /** As it came. Kept where it holds one element, or where its elements are nothing without the rest of it. */
  readonly payload?: Buffer
  /** Its elements are payloads by themselves. */
  readonly separable?: boolean
}

export type Done = (failure: Failure | undefined, outcomes: readonly Outcome[]) => void

/**
 * Settles once, when every element is on disk: in the log or in the quarantine. The failure is set when nothing can be
 * promised and the whole delivery must be sent again (harmless: what was accepted is recognised).
 */
export function ingest(ports: IngestPorts, decoded: readonly Decoded[], from: Source, settled: Done): void {
  void ingestInTurn(ports, decoded, from, settled)
}

/** As `ingest`. Returns a promise when it is not handed over yet: what the same sender sent after it waits for that. */
export function ingestInTurn(ports: IngestPorts, decoded: readonly Decoded[], from: Source, settled: Done): Promise<void> | undefined {
  const all = checked(ports, from.project, decoded)
  if (!(all instanceof Promise)) {
    append(ports, all, from, settled)
    return undefined
  }
  return all.then(
    one => append(ports, one, from, settled),
    (error: Failure) => settled(error, []),
  )
}

/**
 * With failures in the place of events that do not fit their schema, or the budget. A promise where something must be asked; it rejects with a
 * Failure when all must be sent again.
 */
export function checked(
  ports: IngestPorts,
  project: string,
  decoded: readonly Decoded[],
): readonly Decoded[] | Promise<readonly Decoded[]> {
  const screened = ports.screen(project, decoded)
  const all = screened instanceof Promise ? screened.then(fit => budgeted(ports, fit)) : budgeted(ports, screened)
  return all instanceof Promise ? all.catch(uncheckable) : all
}

function uncheckable(error: unknown): never {
  throw unavailable(error, 'the event cannot be checked now')
}

function budgeted(ports: IngestPorts, decoded: readonly Decoded[]): readonly Decoded[] | Promise<readonly Decoded[]> {
  if (decoded.every(one => !('event' in one) || ports.budget.admits(one.event))) return decoded
  return withinBudget(ports, decoded)
}

async function withinBudget({ budget }: IngestPorts, decoded: readonly Decoded[]): Promise<readonly Decoded[]> {
  const fit = decoded.filter(one => 'event' in one)
  const failures = await budget.ask(fit.map(({ event }) => event))
  const refused = new Map<Decoded, Failure>()
  for (const [index, failure] of failures.entries()) if (failure) refused.set(fit[index] as Decoded, failure)
  return decoded.map(one => {
    const failure = refused.get(one)
    return failure && 'event' in one ? { failure, element: elementOf(one), device: one.event.device } : one
  })
}

/** As `ingest`, of what is checked. */
export function append(ports: IngestPorts, decoded: readonly Decoded[], from: Source, settled: Done): void {
  const [only] = decoded
  if (only && decoded.length === 1 && 'event' in only) {
    take(ports, only.event, only.event.key ?? keysOf(decoded, from)[0] ?? '', from, failure => settled(failure, ACCEPTED))
    return
  }
  if (!only) {
    settled(undefined, [])
    return
  }
  const outcomes: Outcome[] = decoded.map(one => ('event' in one ? undefined : one.failure))
  const keys = keysOf(decoded, from)
  const refused = refusalsOf(decoded, from, keys)
  let open = decoded.filter(one => 'event' in one).length + Number(refused.length > 0)
  let unsafe: Failure | undefined
  const done: Settled = failure => {
    unsafe ??= failure
    if (--open === 0) settled(unsafe, outcomes)
  }
  for (const [i, one] of decoded.entries()) if ('event' in one) take(ports, one.event, keys[i] as string, from, done)
  if (refused.length > 0) setAside(ports, from.project, refused, done)
}

/** Of what is not separable decoders change the number and the order of events when they are mended. */
function keysOf(decoded: readonly Decoded[], from: Source): string[] {
  const parts = from.payload && !from.separable ? partsOf(decoded) : []
  return decoded.map((one, index) =>
    'event' in one && one.event.key !== undefined ? one.event.key : from.deliveryKey(parts[index] ?? index),
  )
}

/** The usual case, one good event. */
const ACCEPTED: readonly Outcome[] = [undefined]

function take({ accept, clocks }: IngestPorts, event: Incoming, key: string, from: Source, done: Settled): void {
  const { sentUs, arrivedUs } = event
  if (sentUs !== undefined) clocks.observe(event.project, event.device, sentUs - arrivedUs, arrivedUs)
  accept.add(event, key, event.key !== undefined || from.mayRepeat(), done)
}

function refusalsOf(decoded: readonly Decoded[], from: Source, keys: readonly string[]): Refused[] {
  const { payload } = from
  if (payload && (decoded.length === 1 || !from.separable)) {
    const unfit = decoded.flatMap(one => ('event' in one ? [] : [one]))
    return unfit.length === 0 ? [] : [wholeRefusal(from, unfit, payload, marksOf(decoded))]
  }
  return decoded.flatMap((one, index) => {
    if ('event' in one) return []
    const { again: _, ...lost } = from
    return [refusal(one.isCut ? lost : from, one.failure, Buffer.from(one.element), { key: keys[index], device: one.device })]
  })
}

/** @param of the key of an element by itself, and whose it is. */
export function refusal(
  from: Source,
  failure: Failure,
  payload: Buffer,
  of: { readonly key?: string | undefined; readonly device?: string | undefined } = {},
): Refused {
  const { source, keyId, clientId, contentType, decoder, again, isTold } = from
  const { key, device = again?.place.device } = of
  return {
    source,
    keyId,
    field: failure.field ?? '',
    reason: failure.message,
    code: failure.code,
    payload,
    device,
    ...(clientId === undefined ? {} : { clientId }),
    ...(contentType === undefined ? {} : { contentType }),
    ...(decoder === undefined ? {} : { decoder }),
    ...(again === undefined
      ? {}
      : { again: { ...again, ...identityOf(from, key), ...(isTold ? { isTold } : {}), mayRepeat: from.mayRepeat() } }),
  }
}

function identityOf(from: Source, key: string | undefined): Pick<Again, 'delivery' | 'isElement'> {
  return key === undefined ? { delivery: from.deliveryKey(0).replace(/\.0$/, '') } : { delivery: key, isElement: true }
}

const MAX_PROBLEMS = 20

/** One record for all that is wrong with it. */
function wholeRefusal(from: Source, unfit: readonly Unfit[], payload: Buffer, accepted: readonly string[]): Refused {
  const [first] = unfit as [Unfit]
  const problems: Problem[] = unfit.slice(0, MAX_PROBLEMS).map(({ failure, device }) => ({
    code: failure.code,
    field: failure.field ?? '',
    message: failure.message,
    device,
  }))
  const more = unfit.length > MAX_PROBLEMS ? `; and ${unfit.length - MAX_PROBLEMS} more` : ''
  const reason = [...new Set(problems.map(({ message }) => message))].join('; ') + more
  // One thing that its sender may not send holds all of it back.
  const code = unfit.some(({ failure }) => failure.code === 'forbidden') ? 'forbidden' : first.failure.code
  return { ...refusal(from, first.failure, payload, { device: first.device }), code, reason, problems, accepted }
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
