// `telltale rules`: rules as files beside each other, on a server, and tested without one.
import { type Command, Option } from 'commander'
import { explained, openClient } from '../api.ts'
import { addLoginOptions, wholeNumber } from '../option.ts'
import { resolveTarget } from '../target.ts'
import { paletteOf, type Terminal, writeLine } from '../terminal.ts'
import { type ApplyOptions, apply } from './apply.ts'
import { get, list, pull, remove, versions } from './look.ts'
import type { Common, ExitCode, Local, Run } from './run.ts'
import { test, validate } from './test.ts'

type Json = { readonly json?: boolean }

export function addRules(command: Command, terminal: Terminal, ended: (code: ExitCode) => void): void {
  command.description('rules as files: validate, test, diff, apply, pull; and list, get, versions, delete')
  const local = (name: string, description: string) =>
    command.command(name).description(description).option('--json', 'print JSON, one document a line')
  const remote = (name: string, description: string) =>
    addLoginOptions(local(name, description)).option('--http <url>', 'the server (else TELLTALE_HTTP_URL, else http://127.0.0.1:8080)')
  const here = async (options: Json, work: (run: Local) => Promise<ExitCode>) => ended(await work(localRun(terminal, options)))
  const there = async (what: string, options: Common, work: (run: Run) => Promise<ExitCode>) =>
    ended(await remoteRun(terminal, what, options, work))

  local('validate', 'say what is wrong in files, by line and column; no server is needed')
    .argument('<file...>', 'files or folders of rules')
    .action((paths: string[], options: Json) => here(options, run => validate(run, paths)))
  local('test', 'run tests of rules (*.test.yaml): events in, alarms expected; no server is needed')
    .argument('<file...>', 'files or folders of tests')
    .option('-v, --verbose', 'print every change of every alarm')
    .action((paths: string[], options: Json & { readonly verbose?: boolean }) => here(options, run => test(run, paths, options)))
  remote('apply', 'make the rules of the server those of a file or folder, all or none')
    .argument('<dir...>', 'files or folders of rules')
    .option('--remove', 'delete rules of the server that are in no file')
    .option('--yes', 'do not ask')
    .option('--dry-run', 'only say what would change; exit code 2 when something would')
    .action((paths: string[], options: Common & ApplyOptions) => there('rules', options, run => apply(run, paths, options)))
  remote('diff', 'say what apply would change; exit code 2 when something would')
    .argument('<dir...>', 'files or folders of rules')
    .option('--remove', 'also rules of the server that are in no file')
    .action((paths: string[], options: Common & ApplyOptions) =>
      there('rules', options, run => apply(run, paths, { ...options, dryRun: true })),
    )
  remote('pull', 'write the rules of the server into a folder, one file each')
    .argument('<dir>')
    .option('--yes', 'write over files that say something else')
    .action((folder: string, options: Common & { readonly yes?: boolean }) => there('rules', options, run => pull(run, folder, options)))
  addLooking(remote, there)
}

type Remote = (name: string, description: string) => Command
type There = (what: string, options: Common, work: (run: Run) => Promise<ExitCode>) => Promise<void>

function addLooking(remote: Remote, there: There): void {
  remote('list', 'list the rules of the server').action((options: Common) => there('rules', options, list))
  remote('get', 'print a rule as YAML')
    .argument('<rule>')
    .addOption(new Option('--at <version>', 'as it was in this version').argParser(wholeNumber('--at', 1)))
    .action((rule: string, options: Common & { readonly at?: number }) => there(`rules/${rule}`, options, run => get(run, rule, options)))
  remote('versions', 'list the versions of a rule: who changed what, and when')
    .argument('<rule>')
    .action((rule: string, options: Common) => there(`rules/${rule}`, options, run => versions(run, rule)))
  remote('delete', 'delete a rule; its alarms clear')
    .argument('<rule>')
    .option('--notify', 'tell its channels of alarms that clear by that')
    .option('--yes', 'do not ask')
    .action((rule: string, options: Common & { readonly notify?: boolean; readonly yes?: boolean }) =>
      there(`rules/${rule}`, options, run => remove(run, rule, options)),
    )
}

function localRun(terminal: Terminal, { json = false }: Json): Local {
  return { terminal, json, palette: paletteOf(terminal.out, terminal.env), say: line => writeLine(terminal.out, line) }
}

async function remoteRun(terminal: Terminal, what: string, options: Common, work: (run: Run) => Promise<ExitCode>): Promise<ExitCode> {
  const target = resolveTarget(options, terminal.env)
  const client = openClient(target)
  try {
    return await work({ ...localRun(terminal, options), client })
  } catch (error) {
    throw explained(target, what, error)
  } finally {
    await client.close()
  }
}
