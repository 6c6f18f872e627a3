// What Ruuvi sensors advertise, by data format (docs.ruuvi.com, Bluetooth advertisements): all numbers are big-endian, and the largest of an
// unsigned or the smallest of a signed field says that there is none.
import type { Parts } from './part.ts'

/** Formats that are not known here (encrypted, URLs) are left out. @param data from the byte of the format on. */
export function readRuuvi(parts: Parts, device: string, data: Buffer): void {
  const length = LENGTHS[data[0] ?? 0]
  if (length === undefined || data.length < length) return
  const fields = new Fields(parts, device, data)
  if (data[0] === 3) rawV1(fields, data)
  else if (data[0] === 5) rawV2(fields)
  else if (data[0] === 6) air(fields)
  else extended(fields)
}

const LENGTHS: Readonly<Record<number, number>> = { 3: 14, 5: 24, 6: 20, 225: 29 }

class Fields {
  readonly #parts: Parts
  readonly #device: string
  readonly #data: Buffer

  constructor(parts: Parts, device: string, data: Buffer) {
    this.#parts = parts
    this.#device = device
    this.#data = data
  }

  unsigned(name: string, at: number, size: number, factor = 1, plus = 0, unit?: string): void {
    const value = this.#data.readUIntBE(at, size)
    if (value !== 2 ** (8 * size) - 1) this.put(name, value * factor + plus, unit)
  }

  signed(name: string, at: number, factor: number): void {
    const value = this.#data.readInt16BE(at)
    if (value !== -0x80_00) this.put(name, value * factor)
  }

  put(name: string, value: number, unit?: string): void {
    this.#parts.put(this.#device, name, Number(value.toPrecision(12)), unit)
  }

  /** Milli-g on three axes; the unit stands beside them, for other formats have m/s². */
  acceleration(at: number): void {
    const [x, y, z] = [0, 2, 4].map(offset => this.#data.readInt16BE(at + offset)) as [number, number, number]
    if ([x, y, z].includes(-0x80_00)) return
    const acceleration = { x: x / 1000, y: y / 1000, z: z / 1000, unit: 'gₙ' }
    this.#parts.event(this.#device, { eventType: 'acceleration', data: { acceleration } })
  }

  /** Nine bits, of which the lowest stands among the flags. */
  index(name: string, at: number, flags: number, bit: number): void {
    const value = ((this.#data[at] as number) << 1) | (((this.#data[flags] as number) >> bit) & 1)
    if (value !== 0x1ff) this.put(name, value)
  }

  byte(at: number): number {
    return this.#data[at] as number
  }
}

function rawV1(fields: Fields, data: Buffer): void {
  const [humidity = 0, sign = 0, hundredths = 0] = data.subarray(1)
  fields.put('temperature', ((sign & 0x7f) + hundredths / 100) * (sign & 0x80 ? -1 : 1))
  fields.put('humidity', humidity / 2)
  fields.put('pressure', data.readUInt16BE(4) + 50_000)
  fields.acceleration(6)
  fields.put('batteryVoltage', data.readUInt16BE(12) / 1000)
}

function rawV2(fields: Fields): void {
  climate(fields)
  fields.acceleration(7)
  const power = (fields.byte(13) << 8) | fields.byte(14)
  if (power >> 5 !== 0x7ff) fields.put('batteryVoltage', ((power >> 5) + 1600) / 1000)
  if ((power & 31) !== 31) fields.put('txPower', (power & 31) * 2 - 40)
  fields.unsigned('movementCounter', 15, 1)
  fields.unsigned('measurementSequence', 16, 2)
}

function climate(fields: Fields): void {
  fields.signed('temperature', 1, 0.005)
  fields.unsigned('humidity', 3, 2, 0.0025)
  fields.unsigned('pressure', 5, 2, 1, 50_000)
}

/** Of 8 bits, on a logarithmic scale to 65,535 lx. */
const LIGHT_STEP = Math.log(65_536) / 254

function air(fields: Fields): void {
  climate(fields)
  fields.unsigned('pm25', 7, 2, 0.1)
  fields.unsigned('co2', 9, 2)
  fields.index('vocIndex', 11, 16, 6)
  fields.index('noxIndex', 12, 16, 7)
  const light = fields.byte(13)
  if (light !== 255) fields.put('illuminance', Math.round((Math.exp(light * LIGHT_STEP) - 1) * 100) / 100)
}

function extended(fields: Fields): void {
  climate(fields)
  for (const [i, name] of ['pm1', 'pm25', 'pm4', 'pm10'].entries()) fields.unsigned(name, 7 + 2 * i, 2, 0.1)
  fields.unsigned('co2', 15, 2)
  fields.index('vocIndex', 17, 28, 6)
  fields.index('noxIndex', 18, 28, 7)
  fields.unsigned('illuminance', 19, 3, 0.01)
  fields.unsigned('measurementSequence', 25, 3)
}
