// Every format there is, by name.

import { Type } from 'typebox'
import { bthome } from './bthome.ts'
import { cayenne } from './cayenne.ts'
import { cbor, cborSequence } from './cbor.ts'
import { cel } from './cel.ts'
import { chirpstackFormat } from './chirpstack.ts'
import { csv } from './csv.ts'
import { esphome } from './esphome.ts'
import type { Format } from './format.ts'
import { homeassistant } from './homeassistant.ts'
import { influx } from './influx.ts'
import { javascriptFormat } from './javascript.ts'
import { decodeJson, decodeLines } from './json.ts'
import { plainLines } from './line.ts'
import { protobufFormat } from './protobuf.ts'
import { ruuvi } from './ruuvi.ts'
import { sandbox } from './sandbox.ts'
import { senml } from './senml.ts'
import { shelly } from './shelly.ts'
import { sparkplug } from './sparkplug.ts'
import { tasmota } from './tasmota.ts'
import { ttnFormat } from './ttn.ts'
import { zigbee2mqtt } from './zigbee2mqtt.ts'

const json: Format = {
  name: 'json',
  version: 1,
  title: 'A value, the data of an event, a whole event, or an array of them',
  options: Type.Object({}),
  topics: [],
  contentTypes: ['application/json', 'text/plain', 'application/x-www-form-urlencoded', ''],
  separable: true,
  decode: ({ bytes, place }, clock) => ({ decoded: decodeJson(bytes, place, clock) }),
}

const ndjson: Format = {
  name: 'ndjson',
  version: 1,
  title: 'One event per line',
  options: Type.Object({}),
  topics: [],
  contentTypes: ['application/x-ndjson', 'application/ndjson', 'application/jsonl', 'application/x-jsonlines'],
  lines: plainLines,
  separable: true,
  decode: ({ bytes, place }, clock) => ({ decoded: decodeLines(bytes, place, clock) }),
}

const ALL: readonly Format[] = [
  json,
  ndjson,
  cbor,
  cborSequence,
  csv,
  senml,
  sparkplug,
  bthome,
  esphome,
  homeassistant,
  ruuvi,
  shelly,
  tasmota,
  zigbee2mqtt,
  influx,
  javascriptFormat(sandbox),
  cayenne,
  cel,
  protobufFormat,
  ttnFormat(sandbox),
  chirpstackFormat(sandbox),
]

export const FORMATS: ReadonlyMap<string, Format> = new Map(ALL.map(format => [format.name, format]))
