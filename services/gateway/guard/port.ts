// What the guard stands between: the broker's side of a connection, and whoever counts and says what it does.
import type { Done } from './ack.ts'
import type { Addresses } from './address.ts'
import type { Admission } from './admission.ts'
import type { Flow } from './flow.ts'
import type { Inside } from './inside.ts'

/** A publish that needs no broker. */
export type Ingest = {
  topic: string
  readonly payload: Buffer
  readonly qos: 0 | 1
  readonly dup: boolean
  readonly messageId: number | undefined
}

/** The broker's side of a connection, once it is let in. */
export type Inner = {
  /** Whether a publish on this topic may go straight to the log: it is one of its session's ingest topics, and nobody is subscribed to it. */
  isDirect(topic: string): boolean
  ingest(packet: Ingest, done: Done): void
  name(): string
  /** DISCONNECT has come, whatever is acknowledged before it is dealt with. */
  left(): void
}

/** Why a connection was cut off, as it is counted. */
export type Cut = 'malformed' | 'too long' | 'too many' | 'version' | 'refused' | 'no connect' | 'silent' | 'not reading' | 'unavailable'

export type GuardPorts = {
  readonly limits: GuardLimits
  readonly admission: Admission
  readonly addresses: Addresses
  readonly flow: Flow
  /** Sees to what is written here from now on. */
  open(inside: Inside): Inner
  /** Whether a publish that failed has only to be sent again another time; others end the connection. */
  isTransient(error: Error): boolean
  cut(cut: Cut, facts: { readonly address: string; readonly client?: string; readonly reason: string }): void
  /** A publish with QoS 0 could not be taken. */
  shed(facts: { readonly address: string; readonly client: string; readonly reason: string }): void
}

export type GuardLimits = {
  readonly packetBytes: number
  /** Of a connection that is to say CONNECT. */
  readonly connectMs: number
}
