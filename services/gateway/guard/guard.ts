// One connection before the broker: its bytes are cut into packets, each is checked against every rule of MQTT on its form, and only then
// handed on. Publishes on ingest topics that nobody is subscribed to go straight from here to the log (docs/mqtt.md).
import type { Duplex } from 'node:stream'
import { Acks, type Done, type Publication } from './ack.ts'
import type { Ticket } from './admission.ts'
import { type Connect, firstFault, type Refusal, readConnect, TOO_BUSY } from './connect.ts'
import { Frames } from './frame.ts'
import { type From, Inside } from './inside.ts'
import * as limit from './limit.ts'
import { Sent, TOO_MANY_OPEN } from './outgoing.ts'
import { bodyFault, cutOf, DISCONNECT, DISCONNECT_PACKET, headerFault, isAck, isOldRepeat, PUBLISH, PUBREL, tooLong } from './packet.ts'
import type { Cut, GuardPorts, Inner } from './port.ts'
import { Run } from './run.ts'

type Phase = 'new' | 'entering' | 'open' | 'over'

export class Guard {
  readonly #ports: GuardPorts
  readonly #stream: Duplex
  readonly #from: From
  readonly #source: string
  readonly #frames: Frames
  readonly #acks: Acks
  readonly #closed: () => void
  readonly #retry = () => this.#go()
  #phase: Phase = 'new'
  #timer: NodeJS.Timeout | undefined
  #unread: NodeJS.Timeout | undefined
  #ticket: Ticket | undefined
  #connect: Connect | undefined
  #inside: Inside | undefined
  #inner: Inner | undefined
  /** Was checked, and goes to the broker. */
  readonly #run = new Run(bytes => {
    if (this.#phase !== 'over' && this.#inside?.push(bytes) === false) this.#wants = false
  })
  /** Publishes that the broker has not seen yet. While there are some, others go the same way after them. */
  #before = 0
  #underWay = 0
  #unreleased: Set<number> | undefined
  /** Of the broker's, what the client is to acknowledge. */
  readonly #sent = new Sent(() => process.nextTick(this.#retry))
  #wants = true
  #paused = false
  #going = false
  #leaves = false
  #hasEnded = false

  /** @param source what counts as one with others of its address. */
  constructor(ports: GuardPorts, stream: Duplex, from: From, source: string, closed: () => void) {
    this.#ports = ports
    this.#stream = stream
    this.#from = from
    this.#source = source
    this.#closed = closed
    this.#frames = new Frames((first, length) => this.#judge(first, length))
    this.#acks = new Acks({
      acknowledge: ids => this.#acknowledge(ids),
      failed: (publication, error) => this.#failed(publication, error),
    })
    this.#timer = setTimeout(() => this.#cut('no connect', '[MQTT-3.1.0-1] no CONNECT in time'), ports.limits.connectMs)
    stream.on('data', (chunk: Buffer) => this.#read(chunk))
    stream.on('end', () => this.#end())
    stream.on('drain', () => this.#drained())
    stream.on('error', () => stream.destroy())
    stream.once('close', () => this.#close())
  }

  /** The broker ends what it knows of; others are ended here. */
  destroy(): void {
    if (this.#inside) this.#inside.destroy()
    else this.#stream.destroy()
  }

  #judge(first: number, length: number): string | undefined {
    if (this.#phase === 'new')
      return firstFault(first) ?? (length > limit.MAX_CONNECT_BYTES ? tooLong(length, limit.MAX_CONNECT_BYTES) : undefined)
    return (
      headerFault(first, this.#level) ??
      (length > this.#ports.limits.packetBytes ? tooLong(length, this.#ports.limits.packetBytes) : undefined)
    )
  }

  #read(chunk: Buffer): void {
    if (this.#phase === 'over') return
    if (this.#phase === 'open') this.#timer?.refresh()
    this.#frames.push(chunk)
    this.#go()
  }

  /** As many packets as may go on now; the stream is read on when that were all. */
  #go(): void {
    if (this.#going) return
    this.#going = true
    while (this.#mayGo()) {
      const found = this.#frames.next()
      if (found === false) break
      if (typeof found === 'string') {
        this.#cut(cutOf(found), found)
        break
      }
      if (this.#phase === 'new') this.#first()
      else this.#packet()
    }
    this.#run.flush()
    this.#going = false
    this.#pace()
    if (this.#hasEnded) this.#end()
  }

  #mayGo(): boolean {
    if (this.#phase === 'new') return true
    if (this.#phase !== 'open' || !this.#wants || this.#leaves || this.#unread || !this.#sent.allows(this.#frames.coming)) return false
    const { size, bytes } = this.#acks
    return size < this.#share && bytes < limit.MAX_OPEN_BYTES && !(this.#ports.flow.isFull && this.#ports.flow.wait(this.#retry))
  }

  get #level(): number {
    return this.#connect?.level ?? 4
  }

  get #share(): number {
    return Math.min(limit.MAX_OPEN, this.#ports.flow.share)
  }

  /** What is not read is not lost: it waits at the client [MQTT-4.4]. */
  #pace(): void {
    if (this.#phase === 'over') return
    const room = this.#phase === 'entering' ? this.#frames.held < limit.MAX_HELD_BYTES : this.#mayGo()
    if (room === !this.#paused) return
    this.#paused = !room
    if (room) this.#stream.resume()
    else this.#stream.pause()
  }

  #first(): void {
    const { bytes, start, body, end } = this.#frames
    const read = readConnect(bytes, body, end)
    if ('fault' in read) {
      this.#refuse(read, read.fault.startsWith('MQTT 5') || read.fault.includes('3.1.2-2]') ? 'version' : 'malformed')
      return
    }
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#phase = 'entering'
    this.#connect = read
    const packet = Buffer.from(bytes.subarray(start, end))
    // The keep alive is watched here, where all packets are seen; to the broker there is none.
    packet.writeUInt16BE(0, read.keepAliveAt - start)
    const refuse = () => this.#refuse({ fault: 'too many clients log in', answer: TOO_BUSY }, 'too many')
    const entry = { bytes: packet.length, source: this.#source, enter: () => this.#enter(packet), refuse }
    this.#ticket = this.#ports.admission.ask(entry)
    if (!this.#ticket) refuse()
  }

  #enter(connect: Buffer): void {
    const outside = {
      write: (chunks: readonly Buffer[], done: (error?: Error | null) => void) => this.#write(chunks, done),
      wanted: () => this.#wanted(),
      ended: () => this.#ended(),
      turn: (bytes: number, done: Done, drop?: () => void) => this.#turn(bytes, done, drop),
      decided: () => this.#ticket?.leave(),
    }
    this.#inside = new Inside(this.#from, outside, this.#sent, limit.READ_BYTES, limit.WRITE_BYTES)
    this.#inner = this.#ports.open(this.#inside)
    this.#inside.push(connect)
  }

  /** The first that the broker says is CONNACK. */
  #opened(): void {
    this.#phase = 'open'
    this.#ticket?.leave()
    const { keepAliveS = 0 } = this.#connect ?? {}
    if (keepAliveS > 0) this.#timer = setTimeout(() => this.#silent(), keepAliveS * 1500)
    process.nextTick(() => this.#go())
  }

  /** [MQTT-3.1.2-24] One that we do not read has no way to be heard. */
  #silent(): void {
    if (this.#paused && !this.#unread) this.#timer?.refresh()
    else this.#cut('silent', '[MQTT-3.1.2-24] nothing came for one and a half times the keep alive')
  }

  #packet(): void {
    const { first, bytes, start, body, end } = this.#frames
    const type = first >> 4
    const fault = bodyFault(first, bytes, body, end)
    if (fault !== undefined) this.#cut(cutOf(fault), fault)
    else if (type === PUBLISH) this.#publish(first, bytes, start, body, end)
    else if (type === DISCONNECT) this.#leave()
    else if (isAck(type) && !this.#sent.expects(type, bytes.readUInt16BE(body)))
      this.#cut('malformed', `[MQTT-4.8.0-1] an acknowledgement of type ${type} for what was not sent`)
    else {
      // The broker knows the flags of 3.1.1 only.
      if (isOldRepeat(first, this.#level)) bytes[start] = first & ~8
      if (type === PUBREL) this.#unreleased?.delete(bytes.readUInt16BE(body))
      this.#pass(bytes, start, end)
    }
  }

  #publish(first: number, bytes: Buffer, start: number, body: number, end: number): void {
    const qos = (first >> 1) & 3
    const topicEnd = body + 2 + bytes.readUInt16BE(body)
    if (qos === 2 && !this.#hold(bytes.readUInt16BE(topicEnd))) return
    const isDirect = qos < 2 && (first & 1) === 0 && this.#before === 0 && this.#inner !== undefined
    const topic = isDirect ? bytes.toString('utf8', body + 2, topicEnd) : ''
    if (!isDirect || !this.#inner?.isDirect(topic)) {
      this.#before++
      this.#pass(bytes, start, end)
      return
    }
    this.#run.flush()
    const messageId = qos === 0 ? undefined : bytes.readUInt16BE(topicEnd)
    const payload = bytes.subarray(topicEnd + (qos === 0 ? 0 : 2), end)
    const publication = this.#begin(messageId ?? 0, payload.length)
    this.#inner.ingest({ topic, payload, qos: qos as 0 | 1, dup: (first & 8) !== 0, messageId }, error =>
      this.#settle(publication, error ?? undefined),
    )
  }

  #begin(packetId: number, bytes: number, done?: Done): Publication {
    this.#ports.flow.add(bytes)
    if (this.#underWay++ === 0) this.#ports.flow.enter()
    return this.#acks.begin(packetId, bytes, done)
  }

  #settle(publication: Publication, error: Error | undefined): void {
    if (publication.isSettled) return
    this.#ports.flow.remove(publication.bytes)
    if (--this.#underWay === 0) this.#ports.flow.leave()
    this.#acks.settle(publication, error)
    const { size, bytes } = this.#acks
    if (this.#paused && size <= this.#share / 2 && bytes <= limit.MAX_OPEN_BYTES / 2) this.#go()
    if (this.#leaves) this.#leave()
    if (this.#hasEnded) this.#end()
  }

  #turn(bytes: number, done: Done, drop?: () => void): Done {
    if (this.#before > 0) this.#before--
    const publication = this.#begin(0, bytes, drop ? error => this.#orDrop(error, done, drop) : done)
    return error => this.#settle(publication, error ?? undefined)
  }

  /** A publish with QoS 0 that cannot be taken is no reason to end the connection, whichever way it went. */
  #orDrop(error: Error | null | undefined, done: Done, drop: () => void): void {
    const isShed = error != null && this.#ports.isTransient(error)
    if (isShed) this.#shed(error)
    if (isShed) drop()
    done(isShed ? null : error)
  }

  #hold(packetId: number): boolean {
    this.#unreleased ??= new Set()
    this.#unreleased.add(packetId)
    if (this.#unreleased.size <= limit.MAX_UNRELEASED) return true
    this.#cut('too many', `more than ${limit.MAX_UNRELEASED} publishes with QoS 2 that wait for their PUBREL`)
    return false
  }

  #pass(bytes: Buffer, start: number, end: number): void {
    this.#sent.asked(bytes[start] as number)
    this.#run.add(bytes, start, end)
  }

  /** Acknowledgements of what came before go out before the connection ends: else it would be sent again. */
  #leave(): void {
    this.#run.flush()
    if (!this.#leaves) this.#inner?.left()
    this.#leaves = true
    if (this.#acks.size > 0 || this.#before > 0) return
    this.#acks.flush()
    this.#inside?.push(DISCONNECT_PACKET)
  }

  /** The stream ended before all of it was taken; a DISCONNECT may be behind it. */
  #over(isFault = false): void {
    if (this.#phase === 'open' && !isFault && !this.#leaves && this.#frames.holds(DISCONNECT_PACKET)) this.#inner?.left()
    this.#phase = 'over'
  }

  #end(): void {
    this.#hasEnded = true
    const isQuiet = () => this.#acks.size === 0 && this.#before === 0 && !this.#leaves && this.#mayGo()
    if (this.#phase === 'entering' || (this.#phase === 'open' && !isQuiet())) return
    // Before the connection is, and what the broker has still to say: else all of it would be sent again.
    this.#acks.flush()
    if (this.#phase !== 'open' || (this.#sent.hasAnswered && this.#inside?.writableLength === 0)) this.destroy()
  }

  #wanted(): void {
    if (this.#wants) return
    this.#wants = true
    process.nextTick(() => this.#go())
  }

  #write(chunks: readonly Buffer[], done: (error?: Error | null) => void): void {
    if (this.#phase === 'entering') this.#opened()
    if (this.#stream.destroyed) {
      done()
      return
    }
    const bytes = chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks)
    if (!this.#sent.wrote(bytes)) {
      this.#cut('not reading', TOO_MANY_OPEN)
      return
    }
    this.#stream.write(bytes, error => {
      done(error)
      if (this.#hasEnded) this.#end()
    })
  }

  #acknowledge(packetIds: readonly number[]): void {
    const inside = this.#inside
    if (!inside || inside.destroyed || this.#phase === 'over') return
    const bytes = Buffer.allocUnsafe(packetIds.length * 4)
    for (const [i, id] of packetIds.entries()) bytes.writeUInt32BE(0x4002_0000 | id, i * 4)
    // Nothing of the broker's is before them: one stream less to go through.
    const isBehind = inside.writableLength > 0
    if (isBehind) this.#sent.answers(packetIds.length)
    const hasRoom = isBehind ? inside.write(bytes) : this.#stream.write(bytes)
    if (!hasRoom) this.#unread ??= setTimeout(() => this.#cut('not reading', 'it does not read its acknowledgements'), limit.UNREAD_MS)
  }

  #drained(): void {
    clearTimeout(this.#unread)
    this.#unread = undefined
    this.#go()
  }

  #failed({ packetId }: Publication, error: Error): void {
    if (packetId === 0 && this.#ports.isTransient(error)) this.#shed(error)
    // Without PUBACK, so that it is sent again [MQTT-4.4.0-1].
    else this.#cut(this.#ports.isTransient(error) ? 'unavailable' : 'refused', error.message)
  }

  #shed({ message }: Error): void {
    this.#ports.shed({ address: this.#from.address, client: this.#inner?.name() ?? '', reason: message })
  }

  #refuse({ fault, answer }: Refusal, cut: Cut): void {
    if (answer) this.#note(cut, fault)
    else this.#cut(cut, fault)
    this.#phase = 'over'
    if (answer) this.#finish(answer)
  }

  #cut(cut: Cut, reason: string): void {
    if (this.#phase === 'over') return
    this.#note(cut, reason)
    this.#over(cut !== 'unavailable')
    this.#stream.destroy()
  }

  #note(cut: Cut, reason: string): void {
    const client = this.#inner?.name() ?? this.#connect?.clientId
    this.#ports.cut(cut, { address: this.#from.address, ...(client === undefined ? {} : { client }), reason })
  }

  #ended(): void {
    this.#over()
    this.#finish()
  }

  /** What was written goes out first, if it does so soon. */
  #finish(last?: Buffer): void {
    const stream = this.#stream
    if (stream.destroyed || stream.writableEnded) return
    this.#stopTimers()
    this.#timer = setTimeout(() => stream.destroy(), limit.LINGER_MS)
    stream.resume()
    stream.end(last, () => stream.destroy())
  }

  #close(): void {
    this.#over()
    this.#stopTimers()
    this.#ticket?.leave()
    this.#ports.addresses.leave(this.#source)
    this.#inside?.destroy()
    this.#closed()
  }

  #stopTimers(): void {
    clearTimeout(this.#timer)
    clearTimeout(this.#unread)
    this.#unread = undefined
  }
}
