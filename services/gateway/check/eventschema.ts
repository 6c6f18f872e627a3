// JSON Schemas of event types: what a device sends must look like the project says, whichever door it takes. Costs something only where an
// event type has one; the check itself runs on the thread that checks messages of durable streams.
import { Failure } from '../../../packages/core/failure.ts'
import type { Schema } from '../../../packages/log/durable/record.ts'
import { type Decoded, elementOf, type Incoming } from '../decode/event.ts'
import type { Catalog } from '../decoder/catalog.ts'

export type ScreenPorts = {
  readonly catalog: Pick<Catalog, 'of'>
  /** @throws Failure `invalid` with every field that is missing or wrong, or `unavailable`. */
  check(project: string, schema: Schema, payloads: readonly Buffer[]): Promise<void>
  /** Told of a schema that takes too long, with each event. */
  slow(project: string, eventType: string): void
}

/** With failures in the place of events that do not fit. */
export function screen(ports: ScreenPorts, project: string, decoded: readonly Decoded[]): readonly Decoded[] | Promise<readonly Decoded[]> {
  const known = ports.catalog.of(project)
  if (known instanceof Promise) return known.then(({ schemas }) => screenedBy(ports, project, schemas, decoded))
  return screenedBy(ports, project, known.schemas, decoded)
}

function screenedBy(
  ports: ScreenPorts,
  project: string,
  schemas: ReadonlyMap<string, Schema>,
  decoded: readonly Decoded[],
): readonly Decoded[] | Promise<readonly Decoded[]> {
  if (schemas.size === 0 || !decoded.some(one => 'event' in one && schemas.has(one.event.eventType))) return decoded
  const one = async (element: Decoded): Promise<Decoded> => {
    const schema = 'event' in element ? schemas.get(element.event.eventType) : undefined
    if (!schema || !('event' in element)) return element
    const failure = await violation(ports, project, schema, element.event)
    return failure ? { failure, element: elementOf(element), device: element.event.device } : element
  }
  return Promise.all(decoded.map(one))
}

const SAID = /^Schema validation has failed: /

async function violation(
  { check, slow }: ScreenPorts,
  project: string,
  schema: Schema,
  { eventType, sent }: Incoming,
): Promise<Failure | undefined> {
  try {
    await check(project, schema, [Buffer.from(JSON.stringify(sent[eventType]))])
    return undefined
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    const field = `data.${eventType}`
    // The project's own doing: nothing else of the sender waits for it, and what comes meanwhile is there for when it is mended.
    if (error.code === 'unavailable' && error.field?.startsWith('schema')) {
      slow(project, eventType)
      const message = `${field}: the schema of event type ${eventType} takes too long to check: expected a simpler one; then replay the quarantine`
      return new Failure('invalid', message, { field, cause: error })
    }
    if (error.code !== 'invalid') throw error
    const message = `${field}: does not fit the schema of ${eventType}: ${error.message.replace(SAID, '')}`
    return new Failure('invalid', message, { field, cause: error })
  }
}
