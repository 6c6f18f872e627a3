// The part of a project's budget that people and programs spend: how many different values its labels may have, all keys together.
import type { Redis } from 'ioredis'
import { Failure } from '../core/failure.ts'
import { labelValuesKey, limitsKey, limitsOf } from './budget.ts'
import { facetKey, facetMember } from './deviceindex.ts'
import type { LabelChange } from './devicelabel.ts'

const AT_ONCE = 1000
/** What nobody has any more is looked for at most this often: that reads all there is. */
const LOOK_EVERY_MS = 60_000

export class LabelBudget {
  readonly #redis: Redis
  readonly #looked = new Map<string, number>()

  constructor(redis: Redis) {
    this.#redis = redis
  }

  /** Takes up the values that are new in the project. @throws Failure `quota_exceeded` that names the label, when there is no room for them. */
  async spend(project: string, { added, modified }: LabelChange): Promise<void> {
    const values = Object.entries({ ...added, ...modified }).map(([key, value]) => facetMember(key, value))
    if (values.length === 0) return
    const fresh = await this.#unknown(project, values)
    if (fresh.length === 0) return
    if (!(await this.#hasRoom(project, fresh.length))) {
      await this.#letGo(project)
      if (!(await this.#hasRoom(project, fresh.length))) throw await this.#full(project, fresh[0] as string)
    }
    await this.#redis.sadd(labelValuesKey(project), ...fresh)
  }

  async #unknown(project: string, values: readonly string[]): Promise<string[]> {
    const known = await this.#redis.smismember(labelValuesKey(project), ...values)
    return values.filter((_, i) => known[i] === 0)
  }

  async #hasRoom(project: string, count: number): Promise<boolean> {
    const [stored, held] = await Promise.all([this.#redis.hgetall(limitsKey(project)), this.#redis.scard(labelValuesKey(project))])
    return held + count <= limitsOf(stored).labelValues
  }

  async #full(project: string, value: string): Promise<Failure> {
    const { labelValues } = limitsOf(await this.#redis.hgetall(limitsKey(project)))
    const field = `labels.${value.split('\0', 1)[0]}`
    const held = `project ${project} has the ${labelValues} different values of labels that its budget allows (labelValues)`
    return new Failure('quota_exceeded', `${field}: ${held}`, { field })
  }

  /** Values that no device has any more make room. */
  async #letGo(project: string): Promise<void> {
    const nowMs = performance.now()
    if (nowMs - (this.#looked.get(project) ?? Number.NEGATIVE_INFINITY) < LOOK_EVERY_MS) return
    this.#looked.set(project, nowMs)
    for await (const values of this.#redis.sscanStream(labelValuesKey(project), { count: AT_ONCE }) as AsyncIterable<string[]>) {
      const unused = await this.#unused(project, values)
      if (unused.length > 0) await this.#redis.srem(labelValuesKey(project), ...unused)
    }
  }

  async #unused(project: string, values: readonly string[]): Promise<string[]> {
    const pipeline = this.#redis.pipeline()
    for (const one of values) {
      const [key, value] = splitOnce(one)
      pipeline.zlexcount(facetKey(project, `label:${key}`), `[${facetMember(value, '')}`, `(${value}\u0001`)
    }
    const counts = (await pipeline.exec()) ?? []
    return values.filter((_, i) => counts[i]?.[0] === null && counts[i]?.[1] === 0)
  }
}

function splitOnce(text: string): [string, string] {
  const at = text.indexOf('\0')
  return [text.slice(0, at), text.slice(at + 1)]
}
