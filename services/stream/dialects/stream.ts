// Streams of dialects whose clients never create any: they are made by the first use.
import type { FastifyRequest } from 'fastify'
import { Failure } from '../../../packages/core/failure.ts'
import type { DurableStreams, Ref, StreamSettings } from '../../../packages/log/durable/stream.ts'

/**
 * Does something with a stream, which is made with these settings when it is missing; without settings that is `not_found`. One that was
 * removed a moment ago, and is remembered here still, is made anew. That it is made stands in the audit, by this request.
 */
export async function withStream<Result>(
  streams: Pick<DurableStreams, 'find' | 'ensure'>,
  request: FastifyRequest,
  { project, name, settings }: { readonly project: string; readonly name: string; readonly settings: Partial<StreamSettings> | undefined },
  work: (stream: Ref) => Promise<Result>,
): Promise<Result> {
  const known = await streams.find(project, name)
  if (!known && !settings) throw new Failure('not_found', `${name} does not exist`, { field: 'stream' })
  const made = () => noteChange(request, project, name)
  const record = known ?? (await streams.ensure(project, name, settings, made))
  try {
    return await work({ project, record })
  } catch (error) {
    if (!known || !settings || !(error instanceof Failure) || error.code !== 'not_found') throw error
    return work({ project, record: await streams.ensure(project, name, settings, made) })
  }
}

/** Of a stream, or what belongs to it. */
export function noteChange(request: FastifyRequest, project: string, ...names: readonly string[]): void {
  request.change = { scopes: [`projects/${project}`], resource: resourceOf(project, ...names) }
}

export function resourceOf(project: string, stream?: string, subscription?: string): string {
  const pieces = [
    ...(stream === undefined ? [] : ['streams', stream]),
    ...(subscription === undefined ? [] : ['subscriptions', subscription]),
  ]
  return ['projects', project, ...pieces.map(encodeURIComponent)].join('/')
}
