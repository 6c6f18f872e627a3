// What a person reads when a call was refused, or had no answer.
import { TelltaleError } from '../../../packages/client/index.ts'

export function refusal(what: string, error: Error): string {
  if (!(error instanceof TelltaleError)) return `${what}: ${error.message}`
  if (error.code === 'forbidden') return `${what}: this key may not do that (${error.message})`
  if (error.status === 0) return `${what}: the server does not answer. Nothing is lost; try again when it does.`
  return `${what}: ${error.message}`
}
