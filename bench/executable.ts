// Whether a program is there to be run.
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

export function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause) return false
    throw cause
  }
}

/** On the PATH, or where servers are kept. */
export function findExecutable(name: string): string | undefined {
  return [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin'].map(folder => join(folder, name)).find(isExecutable)
}
