// The `telltale` command from its arguments to its exit code: 0 done, 1 failed, 2 wrong usage, or differences were found.
import { setMaxListeners } from 'node:events'
import { Command, CommanderError } from 'commander'
import { Failure } from '../core/failure.ts'
import { VERSION } from '../core/version.ts'
import { addAlarms } from './alarms/alarms.ts'
import { addAudit } from './alarms/audit.ts'
import { addSilences } from './alarms/silence.ts'
import { addPast } from './past/past.ts'
import { addPublish } from './publish.ts'
import { addRules } from './rules/rules.ts'
import { addSimulate } from './simulate.ts'
import { addStreams } from './streams/streams.ts'
import { addTail } from './tail.ts'
import { paletteOf, printable, type Terminal } from './terminal.ts'

export async function runCommand(args: readonly string[], terminal: Terminal): Promise<0 | 1 | 2> {
  // Every connection and every wait listens to it.
  setMaxListeners(0, terminal.stopped)
  let code: 0 | 1 | 2 = 0
  const ended = (ok: boolean) => {
    code = ok ? 0 : 1
  }
  const program = new Command('telltale').description('Telltale from the command line').version(VERSION).exitOverride()
  program.configureOutput({ writeOut: text => terminal.out.write(text), writeErr: text => terminal.err.write(text) })
  addSimulate(program.command('simulate'), terminal, ended)
  addPublish(program.command('publish'), terminal, ended)
  addTail(program.command('tail'), terminal, ended)
  addStreams(program.command('streams'), terminal, ended)
  addAlarms(program.command('alarms'), terminal, ended)
  addSilences(program.command('silences'), terminal, ended)
  addAudit(program.command('audit'), terminal, ended)
  const rules = program.command('rules')
  addRules(rules, terminal, found => {
    code = found
  })
  addPast(rules, terminal, ended)
  try {
    await program.parseAsync(args, { from: 'user' })
    return code
  } catch (error) {
    // Commander has printed its own message; asking for help is no mistake.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
    const message = error instanceof Failure ? error.message : `internal error: ${error instanceof Error ? error.message : String(error)}`
    terminal.err.write(`${paletteOf(terminal.err, terminal.env).red('error:')} ${printable(message)}\n`)
    return error instanceof Failure && error.code === 'invalid' ? 2 : 1
  }
}
