// Names of the keys of durable streams in Redis. A stream that is made again under its name shares nothing with the one before: keys
// carry an id of its own.
import { projectKey } from '../key.ts'
import type { Ref } from './stream.ts'

/** All streams of a project: name → record. */
export function streamsKey(project: string): string {
  return projectKey(project, 'streams')
}

/** Names of streams of which more is acked by a subscription than when they were last trimmed. */
export function ackedKey(project: string): string {
  return projectKey(project, 'streams:acked')
}

export function streamKey({ project, record }: Ref, part = ''): string {
  return projectKey(project, `stream:${record.uid}${part === '' ? '' : `:${part}`}`)
}

/** `uid`: that of the subscription. */
export function subscriptionKey(ref: Ref, uid: string, part = ''): string {
  return streamKey(ref, `sub:${uid}${part === '' ? '' : `:${part}`}`)
}
