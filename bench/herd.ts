// Thousands of MQTT clients as a process of their own: idle, or all gone and back at once.
import { connect, type Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { answer } from './child.ts'
import { connectPacket, type Login, PacketScanner, subscribePacket } from './wire.ts'

export type HerdOptions = {
  readonly port: number
  readonly login: Login | undefined
  readonly count: number
  /** Whether their sessions end with them; when not, each has a subscription: `d00000` in the filter is its place. */
  readonly clean: boolean
  readonly filter: string
}

/** `storm`: all connections are cut, and all connect at once. */
export type HerdQuestion = 'open' | 'storm' | 'close'

export type Herded = {
  /** Until the last one is in. */
  readonly seconds: number
  /** Of those, whose session was there before. */
  readonly present: number
  /** Refused or cut off before they were in, and tried again. */
  readonly again: number
}

/** Connecting at one time when it is no storm. */
const AT_ONCE = 100
const RETRY_MS = 200
const CONNACK = 0x20

class Herd {
  readonly #options: HerdOptions
  readonly #sockets = new Map<number, Socket>()
  #present = 0
  #again = 0

  constructor(options: HerdOptions) {
    this.#options = options
  }

  async gather(atOnce: number): Promise<Herded> {
    const startedMs = performance.now()
    this.#present = 0
    this.#again = 0
    let next = 0
    const one = async () => {
      while (next < this.#options.count) await this.#enter(next++)
    }
    await Promise.all(Array.from({ length: atOnce }, one))
    return { seconds: (performance.now() - startedMs) / 1000, present: this.#present, again: this.#again }
  }

  scatter(): void {
    for (const socket of this.#sockets.values()) {
      socket.removeAllListeners('close')
      socket.resetAndDestroy()
    }
    this.#sockets.clear()
  }

  async #enter(number: number): Promise<void> {
    for (;;) {
      const socket = await this.#try(number)
      if (socket) {
        this.#sockets.set(number, socket)
        socket.once('close', () => {
          throw new Error('a client that was in was cut off')
        })
        return
      }
      this.#again++
      await pause(RETRY_MS)
    }
  }

  /** Undefined when it did not get in. */
  #try(number: number): Promise<Socket | undefined> {
    const { port, login, clean, filter } = this.#options
    const socket = connect({ port, host: '127.0.0.1', noDelay: true })
    socket.write(connectPacket(`herd-${number}`, login, clean))
    return new Promise(resolve => {
      const out = () => resolve(undefined)
      const isIn = () => {
        socket.off('close', out)
        resolve(socket)
      }
      const scanner = new PacketScanner((first, bytes, start) => {
        if (first !== CONNACK) isIn()
        else if (bytes[start + 1] !== 0) socket.destroy()
        else if (bytes[start] === 1) {
          this.#present++
          isIn()
        } else if (clean) isIn()
        else socket.write(subscribePacket(filter.replace('d00000', `d${number}`), 1))
      })
      socket.on('data', chunk => scanner.push(chunk))
      // `close` follows every error.
      socket.on('error', () => socket.destroy())
      socket.on('close', out)
    })
  }
}

await answer(import.meta.url, async (options: HerdOptions) => {
  const herd = new Herd(options)
  return async (question: HerdQuestion): Promise<Herded> => {
    if (question === 'open') return herd.gather(AT_ONCE)
    herd.scatter()
    return question === 'storm' ? herd.gather(options.count) : { seconds: 0, present: 0, again: 0 }
  }
})
