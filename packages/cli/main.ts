// Where the `telltale` process begins and ends: streams, environment, signals, exit code.
import { runCommand } from './command.ts'

const stopping = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.on(signal, () => {
    // The second Ctrl-C does not wait for acks.
    if (stopping.signal.aborted) process.exit(130)
    stopping.abort()
  })

// `telltale tail | head` ends when its reader does.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
  process.exit(0)
})

const terminal = { in: process.stdin, out: process.stdout, err: process.stderr, env: process.env, stopped: stopping.signal }
process.exitCode = await runCommand(process.argv.slice(2), terminal)
