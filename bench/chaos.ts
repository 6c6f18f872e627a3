// `npm run chaos -- --kills 10 --seconds 60`: kills parts of a server under load, and counts what is left; with `--disconnects 10000`
// it cuts off the readers of its stream instead, and now and then kills it. Exits with 1 on any loss.
import { parseArgs } from 'node:util'
import { createRandom } from '../packages/cli/fleet/random.ts'
import { type CrashReport, crash, kept, VICTIMS, type Victim } from './crash.ts'
import { type ResumeReport, resume, told } from './resume.ts'
import { aligned, whole } from './table.ts'

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '10' },
    disconnects: { type: 'string' },
    readers: { type: 'string', default: '32' },
    seconds: { type: 'string', default: '60' },
    rate: { type: 'string', default: '5000' },
    publishers: { type: 'string', default: '10' },
    seed: { type: 'string', default: String(Date.now()) },
    json: { type: 'boolean', default: false },
  },
})

function number(name: 'kills' | 'seconds' | 'rate' | 'publishers' | 'disconnects' | 'readers'): number {
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

function renderResume(report: ResumeReport): string {
  return aligned([
    ['acknowledged', `${whole(report.acked)} in ${whole(report.seconds)} s`],
    ['disconnects', whole(report.disconnects)],
    ['delivered to all readers', whole(report.delivered)],
    ['lost / doubled / out of order', `${report.lost + report.neverStreamed} / ${report.doubled} / ${report.disordered}`],
    ['gaps said, with events in them', `${report.gaps}, ${whole(report.toldMissing)}`],
    ['of these empty / events given all the same', `${report.emptyGaps} / ${report.falselyTold}`],
    ['refusals and errors', whole(report.errors.length)],
    ['', told(report) ? 'nothing lost, nothing twice, what is gone was said' : 'LOST OR DOUBLED'],
  ])
}

async function runCrash(): Promise<boolean> {
  const report = await crash({
    victims: victims(number('kills'), seed),
    seconds: number('seconds'),
    rate: number('rate'),
    publishers: number('publishers'),
    seed,
    say,
  })
  console.log(values.json ? JSON.stringify({ seed, ...report, kept: kept(report) }, null, 2) : `\n${render(report)}`)
  return kept(report)
}

async function runResume(): Promise<boolean> {
  const report = await resume({
    disconnects: number('disconnects'),
    readers: number('readers'),
    rate: number('rate'),
    publishers: number('publishers'),
    kills: number('kills'),
    killEveryMs: 15_000,
    retention: '25s',
    seed,
    say,
  })
  console.log(values.json ? JSON.stringify({ seed, ...report, told: told(report) }, null, 2) : `\n${renderResume(report)}`)
  return told(report)
}

const { seed } = values
const say = (text: string) => (values.json ? undefined : console.log(text))
say(`seed ${seed}`)
process.exitCode = (await (values.disconnects === undefined ? runCrash() : runResume())) ? 0 : 1
