// A message between publishers and subscribers as it stands in Redis and goes from one gateway to another: a line of JSON, then its payload.

export type Qos = 0 | 1 | 2

/** Who retained a message, so that their rights can be looked up when it is sent. */
export type Author = {
  readonly keyId: string
  readonly account: string
  readonly device?: { readonly project: string; readonly id: string }
}

export type Message = {
  /** The same wherever it waits, and however often it is read. */
  readonly id: string
  readonly topic: string
  readonly qos: Qos
  readonly payload: Buffer
  /** Of a retained one; absent where Telltale itself did it. */
  readonly author?: Author
  /** Of what Telltale announces: among all that is said on its topic (inorder.ts). */
  readonly order?: string
}

const END = 0x0a

export function encodeMessage({ payload, ...head }: Message): Buffer {
  return Buffer.concat([Buffer.from(`${JSON.stringify(head)}\n`), payload])
}

export function decodeMessage(bytes: Buffer): Message {
  const end = bytes.indexOf(END)
  const head = JSON.parse(bytes.toString('utf8', 0, end)) as Omit<Message, 'payload'>
  return { ...head, payload: bytes.subarray(end + 1) }
}
