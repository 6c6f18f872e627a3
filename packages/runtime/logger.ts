// Structured logs: pino, handed in. Constant lower-case messages, facts as fields; secrets and query strings never.
import { type Logger as PinoLogger, pino } from 'pino'

export type Logger = PinoLogger

/** @param level a pino level, or `silent`. */
export function openLogger(level: string): Logger {
  return pino(
    { level, base: undefined, timestamp: pino.stdTimeFunctions.isoTime, redact: ['*.authorization', '*.cookie', '*.secret'] },
    // Not process.stderr: on another thread that is a pipe to the first one.
    pino.destination({ fd: 2, sync: true }),
  )
}
