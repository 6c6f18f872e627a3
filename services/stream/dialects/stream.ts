// Streams of dialects whose clients never create any: they are made by the first use.
import { Failure } from '../../../packages/core/failure.ts'
import type { DurableStreams, Ref, StreamSettings } from '../../../packages/log/durable/stream.ts'

/**
 * Does something with a stream, which is made with these settings when it is missing; without settings that is `not_found`. One that was
 * removed a moment ago, and is remembered here still, is made anew.
 */
export async function withStream<Result>(
  streams: Pick<DurableStreams, 'find' | 'ensure'>,
  { project, name, settings }: { readonly project: string; readonly name: string; readonly settings: Partial<StreamSettings> | undefined },
  work: (stream: Ref) => Promise<Result>,
): Promise<Result> {
  const known = await streams.find(project, name)
  if (!known && !settings) throw new Failure('not_found', `${name} does not exist`, { field: 'stream' })
  const record = known ?? (await streams.ensure(project, name, settings))
  try {
    return await work({ project, record })
  } catch (error) {
    if (!known || !settings || !(error instanceof Failure) || error.code !== 'not_found') throw error
    return work({ project, record: await streams.ensure(project, name, settings) })
  }
}
