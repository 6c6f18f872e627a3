// One request about many devices: each has an outcome of its own, and the answer names those that could not be changed (contracts.md 1.a.6).
import { Type } from 'typebox'
import { Failure } from '../../packages/core/failure.ts'
import { translate } from '../../packages/redis/index.ts'

const Code = Type.Union([Type.Literal('INVALID_ARGUMENT'), Type.Literal('NOT_FOUND'), Type.Literal('INTERNAL_ERROR')])
export const DeviceError = Type.Object({ device: Type.String(), status: Type.Object({ code: Code, message: Type.String() }) })

/** As many wait for the disk together; a client waits 3 s for all (contracts.md 1.a.3). */
const AT_ONCE = 250

/**
 * What became of each: nothing, or why not. When Redis goes away in the middle, those that were not reached have that as their
 * reason; when it was away from the start, all of it is refused and may be sent again.
 */
export async function inBatches<Item>(
  log: { error(facts: object, message: string): void },
  items: readonly Item[],
  change: (item: Item) => Promise<unknown>,
): Promise<(Failure | undefined)[]> {
  const outcomes: (Failure | undefined)[] = []
  const attempt = async (item: Item): Promise<Failure | undefined> => {
    try {
      await change(item)
      return undefined
    } catch (error) {
      const known = translate(error)
      if (known instanceof Failure) return known
      log.error({ err: error }, 'device not changed')
      return new Failure('setup', 'internal error', { cause: error })
    }
  }
  for (let i = 0; i < items.length; i += AT_ONCE) outcomes.push(...(await Promise.all(items.slice(i, i + AT_ONCE).map(attempt))))
  const [first] = outcomes
  if (first?.code === 'unavailable' && outcomes.every(outcome => outcome?.code === 'unavailable')) throw first
  return outcomes
}

const CODES: Readonly<Record<string, 'INVALID_ARGUMENT' | 'NOT_FOUND'>> = {
  not_found: 'NOT_FOUND',
  invalid: 'INVALID_ARGUMENT',
  conflict: 'INVALID_ARGUMENT',
  forbidden: 'INVALID_ARGUMENT',
}

/** Names have no slash in front: clients take them apart by position (contracts.md 1.a.2). */
export function statusOf(device: string, { code, message }: Failure) {
  return { device: device.replace(/^\//, ''), status: { code: CODES[code] ?? 'INTERNAL_ERROR', message } } as const
}
