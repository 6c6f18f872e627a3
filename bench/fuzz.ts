// `npm run fuzz`: a million mutated MQTT packets, a hundred thousand HTTP requests and as many payloads of every format. Prints the seed,
// with which the same run can be had again; exit code 1 when anything crashed, hung for over a second, was answered by a 5xx, or grew.
import { parseArgs } from 'node:util'
import { fuzz, problems } from './fuzzing.ts'
import { aligned, whole } from './table.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(Date.now()) },
    packets: { type: 'string', default: '1000000' },
    requests: { type: 'string', default: '100000' },
    payloads: { type: 'string', default: '100000' },
  },
})

function number(name: 'packets' | 'requests' | 'payloads'): number {
  const value = Number(values[name])
  if (!Number.isInteger(value) || value < 0) throw new Error(`--${name}: expected a whole number from 0, got ${values[name]}`)
  return value
}

console.log(`seed ${values.seed}`)
const counts = { packets: number('packets'), requests: number('requests'), payloads: number('payloads') }
const all = await fuzz({ seed: values.seed, ...counts, say: text => void process.stderr.write(`\r${text}\u001b[K`) })
process.stderr.write('\r\u001b[K')
const rows = all.map(({ name, sent, slowestMs, grownMb }) => [name, whole(sent), `${whole(slowestMs)} ms`, `${grownMb.toFixed(1)} MB`])
console.log(aligned([['', 'sent', 'slowest', 'grown'], ...rows]))
const found = all.flatMap(problems)
for (const problem of found) console.log(`\n${problem}`)
process.exitCode = found.length > 0 ? 1 : 0
