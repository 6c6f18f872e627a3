// `npm run bench`: the main path in figures of this machine, beside what a plain script on mosquitto does with the same events.
import { parseArgs } from 'node:util'
import { measurePipeline, type Size } from './pipeline.ts'
import { Server } from './server.ts'

const FULL: Size = { warmUp: 50_000, total: 200_000, runs: 3, rate: 10_000, seconds: 15 }
const QUICK: Size = { warmUp: 30_000, total: 80_000, runs: 1, rate: 10_000, seconds: 6 }

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { quick: { type: 'boolean' }, json: { type: 'boolean' } } })
  const server = await Server.start({ run: 'dist' })
  try {
    const report = await measurePipeline(server, values.quick ? QUICK : FULL)
    console.log(JSON.stringify(report, null, 1))
  } catch (error) {
    console.error(server.state)
    throw error
  } finally {
    await server.stop()
  }
}

await main()
