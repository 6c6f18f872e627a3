// Where connections of MQTT clients come in, over whatever carries them, and go through the guard to the broker.
import { createServer, type Server } from 'node:net'
import type { Duplex } from 'node:stream'
import { Addresses, neighbourhood } from '../guard/address.ts'
import { Admission } from '../guard/admission.ts'
import { Flow } from '../guard/flow.ts'
import { Guard } from '../guard/guard.ts'
import type { From } from '../guard/inside.ts'
import type { Cut, GuardPorts } from '../guard/port.ts'
import { Sample } from '../guard/sample.ts'

export type ListenerLimits = {
  /** Of one packet after CONNECT. */
  readonly packetBytes: number
  /** 0: no limit. */
  readonly perAddress: number
}

export type ListenerPorts = Pick<GuardPorts, 'open' | 'isTransient'> & {
  readonly limits: ListenerLimits
  say(level: 'info' | 'warn', facts: object, message: string): void
  /** A connection was cut off, or a publish with QoS 0 dropped. */
  counted(what: Cut | 'shed'): void
}

/** A socket that says nothing holds its place no longer (hazard 3). */
const CONNECT_MS = 10_000
/** Beyond this a socket says that it is full. */
export const SOCKET_BYTES = 64 * 1024

export class Listener {
  readonly #ports: ListenerPorts
  readonly #guarded: GuardPorts
  readonly #guards = new Set<Guard>()
  readonly #servers = new Set<Server>()
  readonly #said: readonly Sample[]

  constructor(ports: ListenerPorts) {
    this.#ports = ports
    const cuts = new Sample((facts, message) => ports.say('info', facts, message))
    const sheds = new Sample((facts, message) => ports.say('warn', facts, message))
    this.#said = [cuts, sheds]
    this.#guarded = {
      open: ports.open,
      isTransient: ports.isTransient,
      limits: { packetBytes: ports.limits.packetBytes, connectMs: CONNECT_MS },
      admission: new Admission(() => performance.now()),
      addresses: new Addresses(ports.limits.perAddress),
      flow: new Flow(),
      cut: (cut, facts) => {
        ports.counted(cut)
        cuts.add(facts.address, { cut, ...facts }, 'mqtt connection cut off')
      },
      shed: facts => {
        ports.counted('shed')
        sheds.add(facts.address, facts, 'mqtt publish with QoS 0 dropped: the log takes no more')
      },
    }
  }

  /** One more connection; `stream` is ours from here on, and nothing may have been read from it. */
  take(stream: Duplex, from: From): void {
    const source = neighbourhood(from.address)
    if (!this.#guarded.addresses.enter(source)) {
      this.#guarded.cut('too many', {
        address: from.address,
        reason: `more than ${this.#ports.limits.perAddress} connections of ${source}`,
      })
      stream.on('error', () => stream.destroy())
      stream.destroy()
      return
    }
    const guard: Guard = new Guard(this.#guarded, stream, from, source, () => this.#guards.delete(guard))
    this.#guards.add(guard)
  }

  /** TCP. @returns the port. */
  async listen(host: string, port: number): Promise<number> {
    // A client that has said all and listens still gets its acknowledgements.
    const server = createServer({ noDelay: true, highWaterMark: SOCKET_BYTES, allowHalfOpen: true }, socket =>
      this.take(socket, { address: socket.remoteAddress ?? '' }),
    )
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(port, host, () => resolve())
    })
    this.#servers.add(server)
    return (server.address() as { port: number }).port
  }

  /** Takes no more. */
  stop(): Promise<void> {
    const closing = [...this.#servers].map(server => new Promise<void>(resolve => server.close(() => resolve())))
    return Promise.all(closing).then(() => {
      for (const said of this.#said) said.flush()
    })
  }

  /** Ends all that are left. */
  destroy(): void {
    for (const guard of this.#guards) guard.destroy()
  }
}
