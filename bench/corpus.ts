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
  bthome: [
    text('{"id":"A4:C1:38:8D:18:B2","rssi":-60,"servicedatauuid":"fcd2","servicedata":"4002ca0903bf13"}', 'home/gw/BTtoMQTT/A4C1388D18B2', {
      keys: {},
    }),
  ],
  esphome: [
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
