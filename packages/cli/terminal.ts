// What a command may touch of the process it runs in, and how its text reaches people safely.
import colors from 'picocolors'
import type { Environment } from './target.ts'

export type Screen = NodeJS.WritableStream & { readonly isTTY?: boolean; readonly columns?: number }

export type Terminal = {
  /** Where people answer; without it nobody is asked. */
  readonly in?: NodeJS.ReadableStream & { readonly isTTY?: boolean }
  readonly out: Screen
  readonly err: Screen
  readonly env: Environment
  /** Aborted by Ctrl-C or SIGTERM: finish what is under way and return. */
  readonly stopped: AbortSignal
}

export type Palette = ReturnType<typeof colors.createColors>

export function paletteOf(screen: Screen, env: Environment): Palette {
  return colors.createColors(screen.isTTY === true && (env.NO_COLOR ?? '') === '' && env.TERM !== 'dumb')
}

/** Resolves when there is room for the next line. */
export async function writeLine(screen: Screen, line: string): Promise<void> {
  if (!screen.write(`${line}\n`)) await new Promise<void>(resolve => screen.once('drain', resolve))
}

/** Text from a device or server on one line: an escape sequence in a name must not reach the terminal as one. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu, '\ufffd')
}

/** A line at the bottom of a terminal that is drawn over; nothing at all elsewhere. */
export class StatusLine {
  readonly #screen: Screen
  #text = ''
  #shown = false

  constructor(screen: Screen) {
    this.#screen = screen
  }

  show(text: string): void {
    if (this.#screen.isTTY !== true) return
    this.#text = text
    // A terminal that was given no size says 0.
    this.#screen.write(`\r\u001b[2K${text.slice(0, (this.#screen.columns || 80) - 1)}`)
    this.#shown = true
  }

  /** Makes room for a line above it. */
  clear(): void {
    if (this.#shown) this.#screen.write('\r\u001b[2K')
    this.#shown = false
  }

  /** Shows again what was cleared, under the line that has been written meanwhile. */
  restore(): void {
    if (!this.#shown && this.#text !== '') this.show(this.#text)
  }
}

/** Texts below each other, as wide as the widest that has come, within limits. */
export class Column {
  readonly #most: number
  #width: number

  constructor(least: number, most: number) {
    this.#width = least
    this.#most = most
  }

  fit(text: string): string {
    this.#width = Math.min(this.#most, Math.max(this.#width, text.length))
    return text.padEnd(this.#width)
  }
}
