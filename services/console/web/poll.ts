// What has no stream of its own is asked for every two seconds (or as often as said) while somebody looks.
import { useCallback, useEffect, useRef, useState } from 'preact/hooks'
import { TelltaleError } from '../../../packages/client/index.ts'
import type { Feed } from './feed.ts'

const EVERY_MS = 2000

export type Polled<T> = {
  /** What came last. */
  readonly value: T | undefined
  /** Why nothing comes; undefined when something did. */
  readonly failure: TelltaleError | undefined
  /** Asks at once. */
  again(): void
}

type State<T> = { readonly value?: T; readonly failure?: TelltaleError }

/** @param load asked again when it is another function. */
export function usePolled<T>(feed: Feed, load: () => Promise<T>, everyMs = EVERY_MS): Polled<T> {
  const [state, setState] = useState<State<T>>({})
  const poll = useRef<Poll<T> | undefined>(undefined)
  useEffect(() => {
    const opened = new Poll(
      load,
      value => setState({ value }),
      failure => {
        if (failure.code === 'unauthenticated') feed.signedOut()
        else setState(before => ({ ...before, failure }))
      },
      everyMs,
    )
    poll.current = opened
    return () => opened.close()
  }, [feed, load, everyMs])
  const again = useCallback(() => void poll.current?.ask(), [])
  return { value: state.value, failure: state.failure, again }
}

class Poll<T> {
  readonly #load: () => Promise<T>
  readonly #came: (value: T) => void
  readonly #failed: (failure: TelltaleError) => void
  readonly #everyMs: number
  readonly #stop = new AbortController()
  #timer: ReturnType<typeof setTimeout> | undefined
  #asking = false

  constructor(load: () => Promise<T>, came: (value: T) => void, failed: (failure: TelltaleError) => void, everyMs: number) {
    this.#load = load
    this.#came = came
    this.#failed = failed
    this.#everyMs = everyMs
    document.addEventListener('visibilitychange', () => void this.ask(), { signal: this.#stop.signal })
    void this.ask()
  }

  async ask(): Promise<void> {
    clearTimeout(this.#timer)
    if (this.#asking) return
    this.#asking = true
    try {
      if (!document.hidden) await this.#once()
    } finally {
      this.#asking = false
      if (!this.#stop.signal.aborted) this.#timer = setTimeout(() => void this.ask(), this.#everyMs)
    }
  }

  async #once(): Promise<void> {
    try {
      const value = await this.#load()
      if (!this.#stop.signal.aborted) this.#came(value)
    } catch (error) {
      if (!(error instanceof TelltaleError)) throw error
      if (!this.#stop.signal.aborted) this.#failed(error)
    }
  }

  close(): void {
    this.#stop.abort()
    clearTimeout(this.#timer)
  }
}
