// The one place where a decoder's name is looked up: what makes device events of bytes that came without a topic or a content type.
import type { DecoderName } from '../../../packages/core/decoder.ts'
import type { Clock, Decoded, Place } from './event.ts'
import { decodeJson, decodeLines } from './json.ts'

/** @throws Failure `invalid` or `too_large` when nothing in it can be read. */
export type Decode = (payload: Buffer, place: Place, clock: Clock) => Decoded[]

export const DECODE: Readonly<Record<DecoderName, Decode>> = { json: decodeJson, ndjson: decodeLines }
