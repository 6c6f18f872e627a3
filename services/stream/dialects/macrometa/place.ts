// Where a WebSocket leads: its path, piece by piece (contracts.md 2.a.3).
import { Failure, invalid } from '../../../../packages/core/failure.ts'
import { FABRIC, parseTopic, type Topic } from './topic.ts'

export type Kind = 'producer' | 'consumer' | 'reader'
export type Place = { readonly tenant: string; readonly topic: Topic /** Of a consumer. */; readonly subscription: string }

const NAMESPACE = /^(c8global|c8local)\.(.+)$/
const SHAPE = '/_ws/ws/v2/{producer|consumer|reader}/persistent/{tenant}/{c8global|c8local}.{fabric}/{topic}, of consumers /{subscription}'

/** @param url path and query as they came. A topic may hold slashes, so it is all up to the end, or up to the subscription. */
export function parsePlace(kind: Kind, url: string): Place {
  const pieces = (url.split('?', 1)[0] as string).split('/').map(decode)
  // `/_ws/ws/v2/{kind}` is what was routed by.
  const [persistence, tenant = '', namespace = '', ...rest] = pieces.slice(5)
  const subscription = kind === 'consumer' ? (rest.pop() ?? '') : ''
  const [, scope, fabric] = NAMESPACE.exec(namespace) ?? []
  if (persistence !== 'persistent' || tenant === '' || scope === undefined || rest.length === 0 || pieces.slice(1).includes(''))
    throw invalid('path', `expected ${SHAPE}`)
  const topic = fabric === FABRIC ? parseTopic(rest.join('/')) : undefined
  if (!topic || topic.local !== (scope === 'c8local')) throw unknownTopic()
  return { tenant, topic, subscription }
}

export function unknownTopic(): Failure {
  return new Failure('not_found', 'there is no such stream in this fabric: create it first', { field: 'topic' })
}

function decode(piece: string): string {
  try {
    return decodeURIComponent(piece)
  } catch (error) {
    throw new Failure('invalid', 'path: it is not percent-encoded UTF-8', { field: 'path', cause: error })
  }
}
