// Whether a program is there to be run.
import { accessSync, constants } from 'node:fs'

export function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause) return false
    throw cause
  }
}
