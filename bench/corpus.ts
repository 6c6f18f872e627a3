// Payloads as systems publish them, by format: what is mutated and what is timed.
export type Sample = {
  readonly topic: readonly string[]
  readonly payload: Buffer
  readonly options: Readonly<Record<string, unknown>>
}

const text = (payload: string, topic = '', options = {}): Sample => ({ topic: topic.split('/'), payload: Buffer.from(payload), options })

const CORPUS: Readonly<Record<string, readonly Sample[]>> = {
  json: [
    text('{"temperature":{"value":21.5,"updateTime":"2026-01-31T12:00:00Z"}}'),
    text('[{"targetName":"projects/default/devices/a","eventType":"co2","data":{"co2":{"ppm":415}},"timestamp":1769860800}]'),
  ],
  ndjson: [text('{"temperature":{"value":21.5}}\n{"device":"b","eventType":"door","data":{"door":{"state":"OPEN"}}}\n')],
}

export function samplesOf(name: string): readonly Sample[] {
  const samples = CORPUS[name]
  if (samples === undefined) throw new Error(`no payload to begin with for format ${name}: add one to bench/corpus.ts`)
  return samples
}
