// Names as they are on the wire (contracts.md 2.a.1): a stream of ours is the global stream of the same name, and `c8locals.NAME` the local
// one, so that both are streams of every other dialect too.
import { invalid } from '../../../../packages/core/failure.ts'

export type Topic = {
  /** `c8globals.NAME` or `c8locals.NAME`. */
  readonly topic: string
  readonly local: boolean
  /** The stream's own name. */
  readonly stream: string
}

/** The only fabric that there is. */
export const FABRIC = '_system'

const GLOBAL = 'c8globals.'
const LOCAL = 'c8locals.'
const MAX_NAME_CHARS = 230

export function topicOf(stream: string): Topic {
  const local = stream.startsWith(LOCAL)
  return { topic: local ? stream : `${GLOBAL}${stream}`, local, stream }
}

/** Undefined for what names no stream: without one of the prefixes, or with both. */
export function parseTopic(topic: string): Topic | undefined {
  const local = topic.startsWith(LOCAL)
  if (!local && !topic.startsWith(GLOBAL)) return undefined
  const name = topic.slice(local ? LOCAL.length : GLOBAL.length)
  if (name === '' || name.startsWith(LOCAL) || name.startsWith(GLOBAL)) return undefined
  return { topic, local, stream: local ? topic : name }
}

/** To be created: the name alone, or the whole topic, as some clients have it. */
export function newTopic(name: string, local: boolean): Topic {
  const prefix = local ? LOCAL : GLOBAL
  const found = parseTopic(name.startsWith(prefix) ? name : `${prefix}${name}`)
  if (name.length > MAX_NAME_CHARS) throw invalid('name', `expected at most ${MAX_NAME_CHARS} characters`)
  if (!found) throw invalid('name', `expected a name without the prefix ${local ? GLOBAL : LOCAL}`)
  return found
}
