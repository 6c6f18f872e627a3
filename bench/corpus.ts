// Payloads as systems publish them, by format: what is mutated and what is timed.
import { FORMATS } from '../services/gateway/decode/formats.ts'
import { completed } from '../services/gateway/decoder/option.ts'

export type Sample = {
  readonly topic: readonly string[]
  readonly payload: Buffer
  readonly options: Readonly<Record<string, unknown>>
}

const text = (payload: string, topic = '', options = {}): Sample => ({ topic: topic.split('/'), payload: Buffer.from(payload), options })

const bytes = (payload: string, topic = ''): Sample => ({ topic: topic.split('/'), payload: Buffer.from(payload, 'hex'), options: {} })
const CBOR_EVENT = 'a26664657669636564646f6f726464617461a16b74656d7065726174757265a16576616c7565f94d60'

const CORPUS: Readonly<Record<string, readonly Sample[]>> = {
  bthome: [
    text('{"id":"A4:C1:38:8D:18:B2","rssi":-60,"servicedatauuid":"fcd2","servicedata":"4002ca0903bf13"}', 'home/gw/BTtoMQTT/A4C1388D18B2', {
      keys: {},
    }),
    text(
      '{"id":"AA:BB:CC:DD:EE:FF","model_id":"IBT-2X(S)","type":"BBQ","rssi":-60,"tempc":28,"tempf":82.4,"tempc2":32,"tempf2":89.6,"batt":70}',
      'home/gw/BTtoMQTT/AABBCCDDEEFF',
      { keys: {} },
    ),
    text(
      '{"id":"54:48:E6:8F:80:A5","model_id":"SBHT-003C_ENCR","type":"THB","encr":2,"cipher":"a47266c95f73","ctr":"00112233","mic":"78237214"}',
      'home/gw/BTtoMQTT/5448E68F80A5',
      { keys: { '54:48:E6:8F:80:A5': '231d39c1d7cc1ab1aee224cd096db932' } },
    ),
  ],
  esphome: [
    text('1013.2', 'c3/sensor/pressure/state', { units: {}, names: {} }),
    text('3300', 'c3/sensor/supply/state', { units: { supply: 'mV' }, names: { supply: 'voltage' } }),
    text('{"state":"ON","brightness":200}', 'c3/light/lamp/state', { units: {}, names: {} }),
  ],
  homeassistant: [
    text(
      '{"dev":{"ids":"ea33"},"cmps":{"t":{"p":"sensor","device_class":"temperature","value_template":"{{ value_json.temperature | float }}"},' +
        '"b":{"p":"sensor","dev_cla":"battery","unit_of_meas":"%","val_tpl":"{{ value_json.battery }}"}},"state_topic":"bedroom/state"}',
      'homeassistant/device/0AFFD2/config',
      { discoveryPrefix: 'homeassistant', deviceBy: 'identifier' },
    ),
    text(
      '{"~":"ems-esp","stat_t":"~/boiler_data","dev":{"ids":["boiler"]},"val_tpl":"{{value_json[\'t\'] if value_json[\'t\'] is defined else 0}}"}',
      'homeassistant/sensor/ems-esp/t/config',
      { discoveryPrefix: 'homeassistant', deviceBy: 'identifier' },
    ),
    text('{"temperature":21.5,"battery":91}', 'bedroom/state', { discoveryPrefix: 'homeassistant', deviceBy: 'identifier' }),
  ],
  json: [
    text('{"temperature":{"value":21.5,"updateTime":"2026-01-31T12:00:00Z"}}'),
    text('[{"targetName":"projects/default/devices/a","eventType":"co2","data":{"co2":{"ppm":415}},"timestamp":1769860800}]'),
  ],
  ruuvi: [
    text(
      '{"gw_mac":"C8:25:2D:8E:9C:2C","rssi":-26,"aoa":[],"gwts":"1653668027","ts":"1653668027",' +
        '"data":"0201061BFF99040515AE4C6DC6D7000CFFF803F4ADB6AD697FF41F0C28CBD6","coords":""}',
      'ruuvi/C8:25:2D:8E:9C:2C/F4:1F:0C:28:CB:D6',
    ),
  ],
  shelly: [
    text(
      '{"src":"shellyplus1-a","method":"NotifyEvent","params":{"ts":1682952866,"events":[{"component":"script:1","event":"shelly-blu",' +
        '"data":{"address":"38:39:8F:71:EE:FF","pid":7,"button":[0,1,0,0],"battery":100,"wind speed":[2.1,5],"rssi":-60}}]}}',
      'shellyplus1-a/events/rpc',
      { temperatureUnit: 'C' },
    ),
    text('37.53', 'shellies/plug/relay/0/power', { temperatureUnit: 'C' }),
    text(
      '{"src":"shellyplus1pm-a","method":"NotifyStatus","params":{"ts":1661517385.44,"switch:0":{"id":0,"voltage":232.7,"apower":12.1}}}',
      'shellyplus1pm-a/events/rpc',
      { temperatureUnit: 'C' },
    ),
  ],
  tasmota: [
    text(
      '{"Time":"2019-11-03T19:34:28","BME280":{"Temperature":21.7,"Humidity":66.6,"Pressure":988.6},"PressureUnit":"hPa","TempUnit":"C"}',
      'tele/tasmota/SENSOR',
    ),
    text('{"AM2301":{"Temperature":null},"BMP280":{"Temperature":22},"ANALOG":{"CTEnergy1":{"Power":230}}}', 'tele/x/SENSOR'),
    text('{"Time":"2018-02-15T17:37:10","ENERGY":{"Total":6.294,"Power":[2635,3],"Voltage":227}}', 'tele/pow1/SENSOR'),
  ],
  zigbee2mqtt: [
    text(
      '{"battery":91,"humidity":44.72,"linkquality":102,"pressure":1009.5,"temperature":27.34,"voltage":2975}',
      'zigbee2mqtt/kitchen/fridge',
      { baseTopic: 'zigbee2mqtt' },
    ),
    text('[{"friendly_name":"plug","definition":{"exposes":[{"property":"power","unit":"W"}]}}]', 'zigbee2mqtt/bridge/devices', {
      baseTopic: 'zigbee2mqtt',
    }),
  ],
  // As Telegraf's inputs cpu and mem write, and the documentation of the line protocol.
  influx: [
    text(
      'cpu,cpu=cpu-total,host=edge-1 usage_user=2.5,usage_system=1.25,usage_idle=96.25 1769860800000000000\nmem,host=edge-1 used=3221225472i,used_percent=37.5,active=1073741824u 1769860800000000000\n',
    ),
    text(
      'my\\ Measurement,device=a\\,b fieldKey="string \\"value\\"",ok=true 1556813561098000000\n# a comment\nweather,location=us-midwest temperature=82',
    ),
  ],
  // As the documentation of The Things Stack shows an uplink.
  ttn: [
    text(
      '{"end_device_ids":{"device_id":"dev1","application_ids":{"application_id":"app1"}},"received_at":"2020-02-12T15:15:45.787Z",' +
        '"uplink_message":{"f_port":1,"frm_payload":"gkHe","decoded_payload":{"temperature":1.0,"luminosity":0.64},' +
        '"rx_metadata":[{"gateway_ids":{"gateway_id":"gtw1"},"rssi":-35,"snr":5}],"received_at":"2020-02-12T15:15:45.787Z"}}',
      'v3/app1@tenant1/devices/dev1/up',
    ),
    text(
      '{"end_device_ids":{"device_id":"dev2"},"uplink_message":{"f_port":1,"frm_payload":"AWcBEAJnAP8="}}',
      'v3/app1@tenant1/devices/dev2/up',
      { codec: 'cayenne' },
    ),
  ],
  // As the documentation of ChirpStack shows an uplink.
  chirpstack: [
    text(
      '{"time":"2022-07-18T09:34:15.775023242+00:00","deviceInfo":{"deviceName":"Test device","devEui":"0101010101010101"},' +
        '"fPort":1,"data":"qg==","object":{"temperature":22.5,"humidity":50},"rxInfo":[{"gatewayId":"0016c001f153a14c","rssi":-36,"snr":10.5}]}',
      'application/17c82e96/device/0101010101010101/event/up',
    ),
  ],
  cayenne: [bytes('03670110056700ff'), bytes('018806765ff2960a0003e8')],
  javascript: [
    {
      ...bytes('02c3'),
      options: {
        code: "function decode(input) { return { device: 'a', eventType: 'temperature', value: (input.bytes[0] * 256 + input.bytes[1]) / 10 } }",
      },
    },
  ],
  cel: [
    text('{"at":1767225600,"sensors":[{"name":"a","t":215},{"name":"b","t":198}]}', 'farm/7/raw', {
      each: 'payload.sensors',
      device: "topic[1] + ':' + item.name",
      eventType: "'temperature'",
      data: 'item.t / 10.0',
      timestamp: 'payload.at',
    }),
  ],
  protobuf: [
    {
      ...bytes('0a027331120f0900000000008035401080f2d6ca06'),
      options: {
        schema:
          'syntax = "proto3"; message Report { string id = 1; repeated Reading readings = 2; message Reading { double celsius = 1; int64 at = 2; } }',
        message: 'Report',
        each: 'readings',
        device: 'id',
        eventType: 'temperature',
        value: 'celsius',
        timestamp: 'at',
      },
    },
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

/** A name that costs the square of its length where a pattern looks for its end from each place. */
const LONG = 80_000
const longName = `a${'_'.repeat(LONG)}a`
const uplinkOf = (values: object) => ({ end_device_ids: { device_id: 'd' }, uplink_message: { decoded_payload: values } })
const UPLINK_TOPIC = 'v3/app1@tenant1/devices/d/up'

/** As many elements as fit, and more than any format takes: all of one name, all wrong, all quoted. Each takes the whole payload. */
const LARGE: Readonly<Record<string, readonly Sample[]>> = {
  cel: ['{"all": payload}', 'text', 'payload.none'].map(data =>
    text(JSON.stringify({ big: 'x'.repeat(60_000), items: Array.from({ length: 1000 }, () => 1) }), 'farm/7/raw', {
      each: 'payload.items',
      device: 'topic[1]',
      eventType: '"level"',
      data,
    }),
  ),
  protobuf: [
    {
      // A text of 40,000 bytes, and 5000 empty messages.
      ...bytes(`0ac0b802${'61'.repeat(40_000)}${'1200'.repeat(5000)}`),
      options: {
        schema:
          'syntax = "proto3"; message A { string text = 1; repeated B list = 2; map<string, int32> map = 3; } message B { int32 n = 1; }',
        message: 'A',
        each: 'list',
        value: 'text',
        device: 'text',
      },
    },
  ],
  chirpstack: [
    text(JSON.stringify({ deviceInfo: { devEui: 'd' }, fPort: 1, object: { [longName]: 1 } }), 'application/a/device/d/event/up'),
  ],
  senml: [
    text(JSON.stringify([{ bn: `d${'/'.repeat(240)}d/`, n: 'a', v: 1 }, ...Array.from({ length: 9999 }, () => ({ n: 'a', v: 1 }))])),
    text(JSON.stringify(Array.from({ length: 10_000 }, (_, i) => ({ n: 'd/gap', t: 1_769_860_800 + (i % 3), v: i })))),
    text(JSON.stringify(Array.from({ length: 10_000 }, (_, i) => ({ n: `d/temp${'.'.repeat(i % 100)}`, v: i })))),
  ],
  csv: [
    text(`${','.repeat(1024 * 1024)}\n1`),
    text(`device,type,value\n${`d,a${'_'.repeat(60_000)}a,1\n`.repeat(4)}`),
    text(`device,level\n${`d,${'1'.repeat(60_000)}x\n`.repeat(4)}`),
    text(`device,type,value\n${'d,gap,1\n'.repeat(9999)}`),
    text(`device,type,value\n${'"d","temp","1"\n'.repeat(9999)}`),
    text(`device,gap,x\n${'d,"1",2\n'.repeat(4999)}`),
  ],
  tasmota: [
    text(
      JSON.stringify({ ZbReceived: Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`0x${i} \u0000`, { Power: 1 }])) }),
      'tele/bridge/SENSOR',
    ),
  ],
  json: [text(JSON.stringify(Array.from({ length: 10_000 }, () => ({ device: 'd', eventType: 'gap', data: { gap: { value: 1 } } }))))],
  ndjson: [text('{"device":"d","eventType":"gap","data":{"gap":{"value":1}}}\n'.repeat(10_000))],
  influx: [
    text('gap,host=a value=1 1769860800000000000\n'.repeat(10_000)),
    // Quotes that open in every line and close in none; newlines of which every other is escaped.
    text('m f=""x="\n'.repeat(25_000)),
    text('m f=""x="\\\n\n'.repeat(20_000)),
    text('\\\n'.repeat(100_000)),
    text(`${longName},host=a ${longName}=1 1769860800000000000`),
  ],
  ttn: [
    text(
      JSON.stringify(uplinkOf(Object.fromEntries(Array.from({ length: 10_000 }, (_, i) => [`temp${'.'.repeat(i)}`.slice(0, 99), i])))),
      UPLINK_TOPIC,
    ),
    text(JSON.stringify(uplinkOf({ [longName]: 1 })), UPLINK_TOPIC),
    text(JSON.stringify(uplinkOf({ [longName]: Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`v${i}`, i])) })), UPLINK_TOPIC),
  ],
}

/** What is decoded once, as it is. A format without one has its samples repeated. */
export function largeSamplesOf(name: string): readonly Sample[] {
  const format = FORMATS.get(name)
  return (LARGE[name] ?? samplesOf(name).map(repeated)).map(one => ({
    ...one,
    options: format ? completed(format, one.options) : one.options,
  }))
}

const LARGE_BYTES = 256 * 1024

function repeated(sample: Sample): Sample {
  const count = Math.ceil(LARGE_BYTES / sample.payload.length)
  return { ...sample, payload: Buffer.concat(Array.from({ length: count }, () => sample.payload)) }
}

export function samplesOf(name: string): readonly Sample[] {
  const samples = CORPUS[name]
  if (samples === undefined) throw new Error(`no payload to begin with for format ${name}: add one to bench/corpus.ts`)
  const format = FORMATS.get(name)
  return samples.map(one => ({ ...one, options: format ? completed(format, one.options) : one.options }))
}
