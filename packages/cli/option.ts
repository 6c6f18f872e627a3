// The values of options: each parser names the option and what was expected.
import type { Command } from 'commander'
import { invalid } from '../core/failure.ts'
import { parseDuration, parseTime } from '../core/time.ts'

export function numberAbove(option: string, above: number, most = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return text => {
    const value = text.trim() === '' ? Number.NaN : Number(text)
    if (!(value > above && value <= most)) throw invalid(option, `expected a number above ${above}${upTo(most)}, got "${text}"`)
    return value
  }
}

export function wholeNumber(option: string, least: number, most = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return text => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
    if (!(value >= least && value <= most)) throw invalid(option, `expected a whole number from ${least}${upTo(most)}, got "${text}"`)
    return value
  }
}

export function durationMs(option: string): (text: string) => number {
  return text => {
    const ms = parseDuration(text)
    if (ms === undefined || ms <= 0) throw invalid(option, `expected a duration such as 500ms, 30s, 5m or 2h, got "${text}"`)
    return ms
  }
}

export function timeUs(option: string): (text: string) => number {
  return text => {
    const time = parseTime(text)
    if (time === undefined) throw invalid(option, `expected a time such as 2026-03-01T08:00:00Z, got "${text}"`)
    return time
  }
}

/** A time, or how long ago it was: `10m`. */
export function pastUs(option: string): (text: string) => number {
  return text => {
    const ago = parseDuration(text)
    const time = ago === undefined ? parseTime(text) : (Date.now() - ago) * 1000
    if (time === undefined)
      throw invalid(option, `expected a time such as 2026-03-01T08:00:00Z, or how long ago such as 10m, got "${text}"`)
    return time
  }
}

export function oneOf<T extends string>(option: string, choices: readonly T[]): (text: string) => T {
  return text => {
    const choice = choices.find(known => known === text)
    if (choice === undefined) throw invalid(option, `expected ${choices.join(' or ')}, got "${text}"`)
    return choice
  }
}

/** For options that can be given several times. */
export function collect(text: string, before: readonly string[] | undefined): string[] {
  return [...(before ?? []), text]
}

function upTo(most: number): string {
  return most === Number.MAX_SAFE_INTEGER ? '' : ` up to ${most}`
}

/** `--speed`: a factor, or `max` for without waiting. */
export function speed(text: string): number {
  return text === 'max' ? Number.POSITIVE_INFINITY : numberAbove('--speed', 0)(text)
}

/** Where the server is and who we are; `target.ts` says what holds when they are not given. */
export function addTargetOptions(command: Command): Command {
  return addLoginOptions(command)
    .option('--http <url>', 'the server over HTTP (else TELLTALE_HTTP_URL, else http://127.0.0.1:8080)')
    .option('--mqtt <url>', 'the server over MQTT (else TELLTALE_MQTT_URL, else mqtt://127.0.0.1:1883)')
}

export function addLoginOptions(command: Command): Command {
  return command
    .option('--project <id>', 'project (else TELLTALE_PROJECT, else default)')
    .option('--key-id <id>', 'key of a service account (else TELLTALE_KEY_ID, else admin.json in the data directory)')
    .option('--secret <text>', 'its secret (else TELLTALE_SECRET, which other users of the machine cannot see)')
}
