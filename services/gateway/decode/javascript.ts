// Payloads decoded by the user's own JavaScript: a function `decode` that gets the bytes and gives events. It runs in the sandbox.
import { isUtf8 } from 'node:buffer'
import { type Static, Type } from 'typebox'
import { Failure } from '../../../packages/core/failure.ts'
import { formatTime } from '../../../packages/core/time.ts'
import { decodeElements } from './element.ts'
import type { Format, Payload } from './format.ts'
import { MAX_CODE_CHARS, type Sandbox } from './sandbox.ts'
import { HARD_LIMIT_MS } from './sandboxruntime.ts'

const Options = Type.Object(
  {
    code: Type.String({
      minLength: 1,
      maxLength: MAX_CODE_CHARS,
      description:
        'JavaScript with a function decode({ bytes, text, json, topic, device, eventType, time }) that returns an event, a list of them, or null',
      examples: ["function decode(input) { return { device: input.topic[1], eventType: 'temperature', value: input.bytes[0] / 10 } }"],
    }),
    timeoutMs: Type.Optional(
      Type.Integer({ minimum: 1, maximum: HARD_LIMIT_MS, default: 50, description: 'the time that it may take for one payload' }),
    ),
  },
  { additionalProperties: false },
)

/** What it does for each byte is work, and its memory is small. */
const MAX_BYTES = 64 * 1024

export function javascriptFormat(sandbox: Sandbox): Format {
  return {
    name: 'javascript',
    version: 1,
    title: 'Your own function in JavaScript',
    options: Options,
    topics: [],
    contentTypes: [],
    check: options => sandbox.check((options as Static<typeof Options>).code, 'decode', 'options.code'),
    async decode(payload, clock) {
      const { code, timeoutMs } = payload.options as Static<typeof Options>
      const input = { ...inputOf(payload), time: formatTime(clock.nowUs()) }
      const given = await sandbox.run(payload.place.project, code, 'decode', input, timeoutMs)
      return { decoded: decodeElements(given, 'decode()', payload.place, clock) }
    },
  }
}

function inputOf({ bytes, topic, place }: Payload): object {
  if (bytes.length > MAX_BYTES) throw new Failure('too_large', `payload: at most ${MAX_BYTES} bytes for a decoder in JavaScript`)
  const text = isUtf8(bytes) ? { text: bytes.toString() } : {}
  return { bytes: [...bytes], ...text, topic, device: place.device ?? place.elseDevice, eventType: place.eventType }
}
