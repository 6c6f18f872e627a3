// Payloads as systems publish them, by format: what is mutated and what is timed.
export type Sample = {
  readonly topic: readonly string[]
  readonly payload: Buffer
  readonly options: Readonly<Record<string, unknown>>
}

const text = (payload: string, topic = '', options = {}): Sample => ({ topic: topic.split('/'), payload: Buffer.from(payload), options })

const bytes = (payload: string, topic = ''): Sample => ({ topic: topic.split('/'), payload: Buffer.from(payload, 'hex'), options: {} })
const CBOR_EVENT = 'a26664657669636564646f6f726464617461a16b74656d7065726174757265a16576616c7565f94d60'

const CORPUS: Readonly<Record<string, readonly Sample[]>> = {
  json: [
    text('{"temperature":{"value":21.5,"updateTime":"2026-01-31T12:00:00Z"}}'),
    text('[{"targetName":"projects/default/devices/a","eventType":"co2","data":{"co2":{"ppm":415}},"timestamp":1769860800}]'),
  ],
  ndjson: [text('{"temperature":{"value":21.5}}\n{"device":"b","eventType":"door","data":{"door":{"state":"OPEN"}}}\n')],
  cbor: [bytes(CBOR_EVENT), bytes(`82${CBOR_EVENT}${CBOR_EVENT}`)],
  'cbor-seq': [bytes(CBOR_EVENT + CBOR_EVENT)],
  senml: [
    text('[{"bn":"urn:dev:ow:10e2073a01080063:","n":"temp","u":"Cel","v":23.1},{"n":"hum","u":"%RH","v":41},{"n":"open","vb":true}]'),
    bytes('81a30069642f766f6c7461676501615602fb405e066666666666'),
  ],
  csv: [
    text('time,device,temp (°F),note\n2026-01-31T12:00:00Z,door,70.7,"a ""b"""\n1769860860,window,66.2,\n'),
    text('device,type,value,unit\nd,humidity,40,%\nd,temp,294.65,K\n'),
  ],
  sparkplug: [
    bytes('120b0a05626453657120045800121a0a0b54656d70657261747572651001200a6900000000008035401800', 'spBv1.0/plant/NBIRTH/press'),
    bytes('120b10016900000000008036401801', 'spBv1.0/plant/NDATA/press'),
  ],
}

export function samplesOf(name: string): readonly Sample[] {
  const samples = CORPUS[name]
  if (samples === undefined) throw new Error(`no payload to begin with for format ${name}: add one to bench/corpus.ts`)
  return samples
}
