// Units of readings: which ones measure the same thing, how they are written, how one becomes another, and what known fields are in.

export type Unit = {
  /** As it is shown. */
  readonly symbol: string
  /** What it measures; only units of one dimension become each other. */
  readonly dimension: string
  /** A reading of it is `scale` × reading + `offset` in the first unit of the dimension. */
  readonly scale: number
  readonly offset: number
}

/** How a reading becomes one of another unit: `scale` × reading + `offset`. A difference of two readings so loses the offset. */
export type Conversion = { readonly scale: number; readonly offset: number }

/** `words`: other spellings, in any case of letters, without spaces. Symbols are exact: `mW` is not `MW`. */
type Row = readonly [symbol: string, scale: number, words?: string, offset?: number]

const POUND = 0.453_592_37
const GALLON = 3.785_411_784e-3
const FOOT = 0.3048
const PSI = 6894.757_293_168_361

const TABLE: { readonly [dimension: string]: readonly Row[] } = {
  temperature: [
    ['°C', 1, 'c degc deg_c cel celsius centigrade degreecelsius degreescelsius degreec degreesc [degc]'],
    ['°F', 5 / 9, 'f degf deg_f fahrenheit degreefahrenheit degreesfahrenheit degreef degreesf [degf]', -160 / 9],
    ['K', 1, 'k kelvin kelvins °k degk', -273.15],
  ],
  percentage: [['%', 1, 'percent pct %rh rh% percentrh']],
  'share of a mixture': [
    ['ppm', 1, 'ppm'],
    ['ppb', 1e-3, 'ppb'],
    ['vol%', 1e4, '%vol vol.% volpercent'],
  ],
  'mass concentration': [
    ['µg/m³', 1, 'ug/m3 mcg/m3 µg⋅m⁻³'],
    ['mg/m³', 1e3, 'mg/m3'],
    ['g/m³', 1e6, 'g/m3'],
    ['mg/L', 1e6, 'mg/l'],
    ['µg/L', 1e3, 'ug/l mcg/l'],
    ['g/L', 1e9, 'g/l'],
  ],
  pressure: [
    ['Pa', 1, 'pa pascal pascals'],
    ['hPa', 1e2, 'hpa hectopascal hectopascals'],
    ['kPa', 1e3, 'kpa kilopascal kilopascals'],
    ['MPa', 1e6, 'megapascal megapascals'],
    ['mbar', 1e2, 'mbar millibar millibars'],
    ['bar', 1e5, 'bar bars'],
    ['cbar', 1e3, 'cbar centibar centibars'],
    ['psi', PSI, 'psi lbf/in2'],
    ['mmHg', 133.322_387_415, 'mmhg torr'],
    ['inHg', 3386.388_640_341, 'inhg'],
    ['inH₂O', 249.088_908_333, 'inh2o inwc'],
    ['atm', 101_325, 'atm atmosphere atmospheres'],
  ],
  length: [
    ['m', 1, 'meter meters metre metres'],
    ['km', 1e3, 'km kilometer kilometers kilometre kilometres'],
    ['cm', 1e-2, 'cm centimeter centimeters centimetre centimetres'],
    ['mm', 1e-3, 'millimeter millimeters millimetre millimetres'],
    ['µm', 1e-6, 'um micron microns micrometer micrometers micrometre micrometres'],
    ['in', 0.0254, 'in inch inches "'],
    ['ft', FOOT, 'ft foot feet'],
    ['yd', 0.9144, 'yd yard yards'],
    ['mi', 1609.344, 'mi mile miles'],
  ],
  area: [
    ['m²', 1, 'm2 sqm'],
    ['ha', 1e4, 'hectare hectares'],
    ['ft²', FOOT ** 2, 'ft2 sqft'],
  ],
  volume: [
    ['m³', 1, 'm3 cubicmeter cubicmeters cubicmetre cubicmetres'],
    ['L', 1e-3, 'l liter liters litre litres'],
    ['mL', 1e-6, 'ml milliliter milliliters millilitre millilitres'],
    ['gal', GALLON, 'gal gallon gallons usgal'],
    ['ft³', FOOT ** 3, 'ft3 cuft cubicfoot cubicfeet'],
  ],
  flow: [
    ['m³/h', 1 / 3600, 'm3/h m3/hr cmh m³⋅h⁻¹'],
    ['m³/s', 1, 'm3/s'],
    ['L/s', 1e-3, 'l/s lps'],
    ['L/min', 1e-3 / 60, 'l/min lpm l⋅min⁻¹'],
    ['L/h', 1e-3 / 3600, 'l/h l/hr lph'],
    ['gpm', GALLON / 60, 'gpm gal/min'],
    ['cfm', FOOT ** 3 / 60, 'cfm ft3/min'],
  ],
  speed: [
    ['m/s', 1, 'm/s mps m⋅s⁻¹'],
    ['km/h', 1 / 3.6, 'km/h kmh kph km/hr'],
    ['mm/s', 1e-3, 'mm/s'],
    ['mm/h', 1e-3 / 3600, 'mm/h mm/hr mm⋅h⁻¹'],
    ['mm/d', 1e-3 / 86_400, 'mm/d mm/day'],
    ['in/h', 0.0254 / 3600, 'in/h in/hr'],
    ['mph', 0.447_04, 'mph mi/h'],
    ['kn', 1852 / 3600, 'kn knot knots kt kts'],
    ['ft/s', FOOT, 'ft/s fps'],
    ['ft/min', FOOT / 60, 'ft/min fpm'],
  ],
  acceleration: [
    ['m/s²', 1, 'm/s2'],
    ['gₙ', 9.806_65, 'gn gforce g-force'],
  ],
  mass: [
    ['kg', 1, 'kg kilogram kilograms'],
    ['g', 1e-3, 'g gram grams'],
    ['mg', 1e-6, 'milligram milligrams'],
    ['µg', 1e-9, 'ug mcg microgram micrograms'],
    ['t', 1e3, 't tonne tonnes'],
    ['lb', POUND, 'lb lbs pound pounds'],
    ['oz', POUND / 16, 'oz ounce ounces'],
  ],
  power: [
    ['W', 1, 'w watt watts'],
    ['mW', 1e-3, 'milliwatt milliwatts'],
    ['kW', 1e3, 'kw kilowatt kilowatts'],
    ['MW', 1e6, 'megawatt megawatts'],
    ['hp', 745.699_871_582, 'hp horsepower'],
    ['BTU/h', 1055.055_852_62 / 3600, 'btu/h btu/hr btuh'],
  ],
  'apparent power': [
    ['VA', 1, 'va voltampere voltamperes'],
    ['kVA', 1e3, 'kva'],
  ],
  'reactive power': [
    ['var', 1, 'var vars'],
    ['kvar', 1e3, 'kvar kvars'],
  ],
  energy: [
    ['Wh', 1, 'wh watthour watthours'],
    ['kWh', 1e3, 'kwh kilowatthour kilowatthours'],
    ['MWh', 1e6, 'megawatthour megawatthours'],
    ['J', 1 / 3600, 'j joule joules'],
    ['GWh', 1e9, 'gigawatthour gigawatthours'],
    ['Wmin', 1 / 60, 'wmin wattminute wattminutes watt-minute watt-minutes'],
    ['mWh', 1e-3, 'milliwatthour milliwatthours'],
    ['kJ', 1 / 3.6, 'kj kilojoule kilojoules'],
    ['MJ', 1e3 / 3.6, 'megajoule megajoules'],
    ['BTU', 1055.055_852_62 / 3600, 'btu'],
  ],
  voltage: [
    ['V', 1, 'v volt volts'],
    ['mV', 1e-3, 'millivolt millivolts'],
    ['µV', 1e-6, 'uv microvolt microvolts'],
    ['kV', 1e3, 'kv kilovolt kilovolts'],
  ],
  current: [
    ['A', 1, 'a amp amps ampere amperes'],
    ['mA', 1e-3, 'milliamp milliamps milliampere milliamperes'],
    ['µA', 1e-6, 'ua microamp microamps microampere microamperes'],
  ],
  resistance: [
    ['Ω', 1, 'ohm ohms'],
    ['kΩ', 1e3, 'kohm kohms kiloohm'],
    ['MΩ', 1e6, 'megaohm megaohms'],
  ],
  conductivity: [
    ['S/m', 1, 's/m'],
    ['mS/cm', 0.1, 'ms/cm ms⋅cm⁻¹'],
    ['µS/cm', 1e-4, 'us/cm µs⋅cm⁻¹'],
    ['dS/m', 0.1, 'ds/m ds⋅m⁻¹'],
  ],
  frequency: [
    ['Hz', 1, 'hz hertz'],
    ['kHz', 1e3, 'khz kilohertz'],
    ['MHz', 1e6, 'megahertz'],
    ['rpm', 1 / 60, 'rpm r/min'],
  ],
  illuminance: [
    ['lx', 1, 'lx lux'],
    ['klx', 1e3, 'klx kilolux'],
    ['fc', 10.763_910_417, 'fc footcandle footcandles'],
  ],
  irradiance: [['W/m²', 1, 'w/m2 w⋅m⁻²']],
  'sound level': [['dB', 1, 'db decibel decibels']],
  'A-weighted sound level': [['dB(A)', 1, 'dba db(a)']],
  'signal level': [['dBm', 1, 'dbm']],
  angle: [
    ['°', 1, 'deg degree degrees'],
    ['rad', 180 / Math.PI, 'rad radian radians'],
  ],
  time: [
    ['s', 1, 's sec secs second seconds'],
    ['ms', 1e-3, 'msec msecs millisecond milliseconds'],
    ['µs', 1e-6, 'us usec microsecond microseconds'],
    ['min', 60, 'min mins minute minutes'],
    ['h', 3600, 'h hr hrs hour hours'],
    ['d', 86_400, 'd day days'],
  ],
  'radioactivity of air': [
    ['Bq/m³', 1, 'bq/m3'],
    ['pCi/L', 37, 'pci/l'],
  ],
}

const UNITS: readonly Unit[] = Object.entries(TABLE).flatMap(([dimension, rows]) =>
  rows.map(([symbol, scale, , offset]) => ({ symbol, dimension, scale, offset: offset ?? 0 })),
)
const BY_SYMBOL = indexed(UNITS.flatMap(unit => [...new Set([unit.symbol, plain(unit.symbol)])].map(key => [key, unit] as const)))
const BY_WORD = indexed(
  Object.values(TABLE)
    .flat()
    .flatMap(([symbol, , words]) => (words === undefined ? [] : words.split(' ').map(word => [plain(word), unitOf(symbol)] as const))),
)

const MAX_UNIT_CHARS = 32

/** What each known field is in, as every device that speaks of it sends it (contracts.md 1.a.5). */
const FIELD_UNITS: ReadonlyMap<string, Unit> = new Map(
  Object.entries({
    'temperature.value': '°C',
    'humidity.temperature': '°C',
    'humidity.relativeHumidity': '%',
    'co2.ppm': 'ppm',
    'pressure.pascal': 'Pa',
    'networkStatus.signalStrength': '%',
    'networkStatus.rssi': 'dBm',
    'cellularStatus.signalStrength': '%',
    'batteryStatus.percentage': '%',
    ...ours(),
  }).map(([field, symbol]) => [field, unitOf(symbol)]),
)

/** Of types that this pipeline adds to the field's: the main field is `value` in all of them. */
function ours(): Record<string, string> {
  const types: Readonly<Record<string, string>> = {
    '°C': 'deviceTemperature dewPoint',
    '%': 'relativeHumidity soilMoisture position',
    'g/m³': 'absoluteHumidity',
    V: 'voltage batteryVoltage',
    A: 'current',
    W: 'power',
    VA: 'apparentPower',
    var: 'reactivePower',
    kWh: 'energy energyReturned',
    Hz: 'frequency',
    lx: 'illuminance',
    ppm: 'eco2',
    'W/m²': 'irradiance',
    'µg/m³': 'pm1 pm25 pm4 pm10',
    'Bq/m³': 'radon',
    m: 'distance',
    'm/s': 'speed windSpeed windGust',
    '°': 'windDirection',
    mm: 'precipitation',
    'mm/h': 'precipitationRate',
    'µS/cm': 'conductivity',
    kg: 'mass',
    'm³': 'volume gasVolume',
    'm³/h': 'flow',
    s: 'uptime',
    dBm: 'rssi',
  }
  return Object.fromEntries(Object.entries(types).flatMap(([unit, names]) => names.split(' ').map(name => [`${name}.value`, unit])))
}

/** Of `temperature.value` and the like; undefined for a field that only its sender knows. */
export function fieldUnit(field: string): Unit | undefined {
  return FIELD_UNITS.get(field)
}

/** Of `°C`, `degC`, `Celsius`; undefined for a text that is no unit known here. */
export function parseUnit(text: string): Unit | undefined {
  if (text.length > MAX_UNIT_CHARS) return undefined
  const exact = BY_SYMBOL.get(text)
  if (exact !== undefined) return exact
  const key = plain(text)
  return BY_SYMBOL.get(key) ?? BY_WORD.get(key.toLowerCase())
}

/** The symbols of a dimension. */
export function unitsOf(dimension: string): readonly string[] {
  return UNITS.filter(unit => unit.dimension === dimension).map(unit => unit.symbol)
}

/** Undefined where there is nothing to do. Both are of one dimension. */
export function conversion(from: Unit, to: Unit): Conversion | undefined {
  if (from.scale === to.scale && from.offset === to.offset) return undefined
  return { scale: from.scale / to.scale, offset: (from.offset - to.offset) / to.scale }
}

/** Freed of what binary fractions add, so that 0.57 of 1 is 57 % and not 56.99999999999999 %, which is below a limit of 57. */
export function convert(value: number, { scale, offset }: Conversion): number {
  const exact = value * scale + offset
  if (offset === 0) return tidy(exact)
  // Beside an offset a small result is the difference of large numbers: there places count, not digits.
  const rounded = Math.round(exact * 1e9) / 1e9
  return Number.isFinite(rounded) ? rounded : exact
}

/** What `to` is more than `from`, freed of the same: 4.65 is 0.05 more than 4.6, not 0.05000000000000071. */
export function difference(from: number, to: number): number {
  const exact = to - from
  const rounded = Math.round(exact * 1e9) / 1e9
  const noise = Math.max(Math.abs(from), Math.abs(to)) * 4 * Number.EPSILON
  return Math.abs(rounded - exact) <= noise ? rounded : exact
}

export function tidy(value: number, digits = 14): number {
  return Number.isInteger(value) ? value : Number(value.toPrecision(digits))
}

function indexed(entries: readonly (readonly [spelling: string, unit: Unit])[]): ReadonlyMap<string, Unit> {
  const index = new Map(entries)
  // A spelling of two units would silently be the latter.
  if (index.size !== entries.length) throw new Error('the table of units has a spelling twice')
  return index
}

function unitOf(symbol: string): Unit {
  const unit = BY_SYMBOL.get(symbol)
  if (unit === undefined) throw new Error(`${symbol} is not in the table of units`)
  return unit
}

/** One spelling for `µ` and `μ`, `³` and `3`, `℃` and `°C`, `m^3`, `deg C`. */
function plain(text: string): string {
  return text.replaceAll('º', '°').normalize('NFKC').replaceAll(/[\s^]/g, '')
}
