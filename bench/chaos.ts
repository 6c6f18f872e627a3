// `npm run chaos -- --kills 10 --seconds 60`: kills parts of a server under load, and counts what is left. Exits with 1 on any loss.
import { parseArgs } from 'node:util'
import { createRandom } from '../packages/cli/fleet/random.ts'
import { type CrashReport, crash, kept, VICTIMS, type Victim } from './crash.ts'
import { aligned, whole } from './table.ts'

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '10' },
    seconds: { type: 'string', default: '60' },
    rate: { type: 'string', default: '5000' },
    publishers: { type: 'string', default: '10' },
    seed: { type: 'string', default: String(Date.now()) },
    json: { type: 'boolean', default: false },
  },
})

function number(name: 'kills' | 'seconds' | 'rate' | 'publishers'): number {
  const value = Number(values[name])
  if (!Number.isInteger(value) || value < 1) throw new Error(`--${name}: expected a whole number from 1, got ${values[name]}`)
  return value
}

function victims(count: number, seed: string): Victim[] {
  const random = createRandom(seed, 'victims')
  return Array.from({ length: count }, () => VICTIMS[Math.floor(random() * VICTIMS.length)] ?? 'server')
}

function render(report: CrashReport): string {
  const { acked, resent, recoveries, drainMs, stored, streamed } = report
  const slowest = (name: 'ackMs' | 'streamMs') => Math.max(...recoveries.map(recovery => recovery[name]))
  return aligned([
    ['acknowledged', whole(acked)],
    ['sent again after a reconnect', whole(resent)],
    ['stored: missing / doubled / wrong', `${stored.missing} / ${stored.doubled} / ${stored.wrong}`],
    ['streamed: missing / doubled / wrong', `${streamed.missing} / ${streamed.doubled} / ${streamed.wrong}`],
    ['stream resumed / gaps said', `${streamed.resumes} / ${streamed.gaps}`],
    ['acknowledging again, at the latest after', `${whole(slowest('ackMs'))} ms`],
    ['streaming again, at the latest after', `${whole(slowest('streamMs'))} ms`],
    ['drained after the load', `${whole(drainMs)} ms`],
    ['', kept(report) ? 'nothing lost, nothing twice' : 'LOST OR DOUBLED'],
  ])
}

const { seed } = values
const say = (text: string) => (values.json ? undefined : console.log(text))
say(`seed ${seed}`)
const report = await crash({
  victims: victims(number('kills'), seed),
  seconds: number('seconds'),
  rate: number('rate'),
  publishers: number('publishers'),
  seed,
  say,
})
console.log(values.json ? JSON.stringify({ seed, ...report, kept: kept(report) }, null, 2) : `\n${render(report)}`)
process.exitCode = kept(report) ? 0 : 1
