// Asks a Redis on a Unix socket how far it is, without a client library: used before anyone may connect.
import { connect } from 'node:net'

/** `away`: nobody listens, or no answer in time. */
export type Readiness = { readonly state: 'ready' | 'away' } | { readonly state: 'loading'; readonly percent: number | undefined }

const ANSWER_TIMEOUT_MS = 1000
const NOT_ANSWERED: Readiness = { state: 'away' }

/** INFO is answered while the data set is loading; PING would only say that it is. */
export function probe(path: string): Promise<Readiness> {
  return new Promise(resolve => {
    let text = ''
    const socket = connect(path)
    const settle = (readiness: Readiness) => {
      socket.destroy()
      resolve(readiness)
    }
    socket.setTimeout(ANSWER_TIMEOUT_MS, () => settle(NOT_ANSWERED))
    socket.on('error', () => settle(NOT_ANSWERED))
    socket.on('close', () => settle(NOT_ANSWERED))
    socket.on('connect', () => socket.write('INFO persistence\r\nPING\r\n'))
    socket.on('data', chunk => {
      text += chunk.toString('latin1')
      const readiness = read(text)
      if (readiness !== undefined) settle(readiness)
    })
  })
}

/** Two answers: the report, then `+PONG` or `-LOADING …`. */
function read(text: string): Readiness | undefined {
  if (text.includes('\r\n+PONG\r\n')) return { state: 'ready' }
  if (!/\r\n-\w+ [^\r]*\r\n$/.test(text)) return undefined
  const percent = /loading_loaded_perc:(\d+)/.exec(text)?.[1]
  return { state: 'loading', percent: percent === undefined ? undefined : Number(percent) }
}
