// A will as it stands in Redis, with who left it.
import { type Author, decodeMessage, encodeMessage, type Qos } from './message.ts'

export type Will = {
  /** In the long form. */
  readonly topic: string
  readonly payload: Buffer
  readonly qos: Qos
  readonly retain: boolean
  readonly author: Author
}

const RETAIN = 'retain'

export function encodeWill({ retain, ...message }: Will): Buffer {
  return encodeMessage({ ...message, id: retain ? RETAIN : '' })
}

export function decodeWill(bytes: Buffer): Will {
  const { id, author, ...message } = decodeMessage(bytes)
  return { ...message, retain: id === RETAIN, author: author as Author }
}
