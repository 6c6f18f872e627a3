// Units by tables: how they are spelt, what becomes what, and that a difference is not a reading.
import { describe, expect, it } from 'vitest'
import { conversion, convert, difference, fieldUnit, parseUnit, type Unit, unitsOf } from './unit.ts'

function unit(text: string): Unit {
  const found = parseUnit(text)
  if (found === undefined) throw new Error(`${text} is no unit`)
  return found
}

function converted(value: number, from: string, to: string): number {
  const change = conversion(unit(from), unit(to))
  return change === undefined ? value : convert(value, change)
}

describe('a unit', () => {
  it.each([
    ['°C', 'C c degC celsius Celsius CELSIUS ℃ ºC'],
    ['°F', 'F f degF fahrenheit ℉ ºF'],
    ['K', 'k kelvin °K'],
    ['%', 'percent pct %RH'],
    ['µg/m³', 'μg/m³ ug/m3 µg/m^3 UG/M3'],
    ['hPa', 'hpa HPA hectopascal'],
    ['kWh', 'kwh KWH'],
    ['m³/h', 'm3/h m^3/h'],
    ['Ω', 'Ω ohm Ohms'],
    ['ppm', 'PPM'],
    ['L', 'l litre Liter'],
    ['dB(A)', 'dBA dB(A)'],
  ])('%s may be written %s', (symbol, spellings) => {
    for (const spelling of [symbol, ...spellings.split(' ')]) expect(parseUnit(spelling)?.symbol, spelling).toBe(symbol)
  })

  it('may have spaces in it', () => expect(parseUnit(' Degrees Celsius ')?.symbol).toBe('°C'))

  it.each(['mW MW', 'mW kW', 'µA mA', 'g gₙ', 'm min', 'MPa mPa', 'dB dBm'])('is told from its neighbour: %s', pair => {
    const [one, other] = pair.split(' ').map(parseUnit)
    expect(one).toBeDefined()
    expect(other).not.toEqual(one)
  })

  it.each(['', ' ', 'mw', 'mpa', 'MV', 'cows', '__proto__', 'constructor', 'x'.repeat(100_000)])('is not guessed from %j', text =>
    expect(parseUnit(text)).toBeUndefined(),
  )

  it('of every dimension is found by its own symbol', () => {
    const dimensions = ['temperature', 'pressure', 'percentage', 'speed', 'flow', 'energy', 'time', 'sound level', 'mass concentration']
    for (const dimension of dimensions) {
      expect(unitsOf(dimension).length, dimension).toBeGreaterThan(0)
      for (const symbol of unitsOf(dimension)) expect(parseUnit(symbol)).toMatchObject({ symbol, dimension })
    }
  })
})

describe('a reading', () => {
  it.each<[number, string, number, string]>([
    [20, '°C', 68, '°F'],
    [-40, '°C', -40, '°F'],
    [-17.5, '°C', 0.5, '°F'],
    [70, '°F', 21.111111111, '°C'],
    [32, '°F', 0, '°C'],
    [273.151, 'K', 0.001, '°C'],
    [0, '°C', 273.15, 'K'],
    [0, 'K', -459.67, '°F'],
    [101_325, 'Pa', 1013.25, 'hPa'],
    [101_325, 'Pa', 1.01325, 'bar'],
    [1, 'atm', 101_325, 'Pa'],
    [1013.25, 'mbar', 1013.25, 'hPa'],
    [14.503773773021, 'psi', 1, 'bar'],
    [0.57, 'm', 57, 'cm'],
    [420, 'ppm', 0.042, 'vol%'],
    [36, 'km/h', 10, 'm/s'],
    [35, 'µg/m³', 0.035, 'mg/m³'],
    [1, 'kWh', 3.6, 'MJ'],
    [90, 'min', 1.5, 'h'],
    [3, 'L/min', 0.18, 'm³/h'],
    [4, 'pCi/L', 148, 'Bq/m³'],
    [1e-300, 'kV', 1e-297, 'V'],
  ])('of %d %s is %d %s', (value, from, expected, to) => expect(converted(value, from, to)).toBe(expected))

  it('stays as it is in the same unit by another name', () => {
    expect(conversion(unit('C'), unit('celsius'))).toBeUndefined()
    expect(conversion(unit('mbar'), unit('hPa'))).toBeUndefined()
  })

  it('comes back as it went', () => {
    for (const symbol of ['°F', 'K']) for (const value of [-80.1, -15, 0.1, 4.65, 21.37]) there(value, '°C', symbol)
    for (const dimension of ['pressure', 'flow', 'speed', 'energy', 'length', 'mass'])
      for (const symbol of unitsOf(dimension)) there(4.65, unitsOf(dimension)[0] as string, symbol)
  })

  function there(value: number, from: string, to: string): void {
    expect(converted(converted(value, from, to), to, from), `${from} ${to}`).toBeCloseTo(value, 8)
  }
})

describe('a difference of readings', () => {
  it.each<[number, number, string, string, number]>([
    [20, 22.5, '°C', '°F', 4.5],
    [-18, -15.5, '°C', '°F', 4.5],
    [20, 22.5, '°C', 'K', 2.5],
    [68, 72.5, '°F', '°C', 2.5],
  ])('from %d to %d %s becomes one in %s, wherever it begins: %d', (low, high, from, to, expected) =>
    expect(difference(converted(low, from, to), converted(high, from, to))).toBe(expected),
  )

  it.each([
    [4.6, 4.65, 0.05],
    [0.3, 0.1, -0.2],
    [-15.1, -14.9, 0.2],
    [1e-12, 2e-12, 1e-12],
    [1e300, 1.5e300, 5e299],
    [0, 0, 0],
  ])('from %d to %d is %d, as on paper', (from, to, expected) => expect(difference(from, to)).toBe(expected))
})

describe('a known field', () => {
  it.each([
    ['temperature.value', '°C'],
    ['humidity.relativeHumidity', '%'],
    ['co2.ppm', 'ppm'],
    ['pressure.pascal', 'Pa'],
    ['networkStatus.rssi', 'dBm'],
  ])('%s is in %s', (field, symbol) => expect(fieldUnit(field)?.symbol).toBe(symbol))

  it.each(['temperature', 'acme.value', 'constructor'])('is not %s', field => expect(fieldUnit(field)).toBeUndefined())
})
