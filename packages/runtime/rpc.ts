// Calls between threads: one side answers with an object's methods, the other has an object whose every call is a message.
import type { MessagePort } from 'node:worker_threads'
import { Failure, type FailureCode } from '../core/failure.ts'

/** What can stand behind a port: methods that take and resolve with values that can be cloned. */
type Methods<T> = { [K in keyof T]: (...args: never[]) => Promise<unknown> }
type Call = { readonly id: number; readonly method: string; readonly args: readonly unknown[] }
type Reply = { readonly id: number; readonly value?: unknown; readonly error?: SentError }
type SentError = {
  readonly message: string
  readonly code?: FailureCode
  readonly field?: string | undefined
  readonly retryAfterMs?: number | undefined
}

/** Answers calls until the port closes. A Failure arrives as a Failure, anything else as an Error with its stack as text. */
export function serve<T extends Methods<T>>(port: MessagePort, target: T): void {
  port.on('message', ({ id, method, args }: Call) => {
    const run = target[method as keyof T] as unknown as (...args: readonly unknown[]) => Promise<unknown>
    run.apply(target, args as unknown[]).then(
      value => port.postMessage({ id, value } satisfies Reply),
      (error: unknown) => port.postMessage({ id, error: toSent(error) } satisfies Reply),
    )
  })
}

/** The other side of `serve`, for these methods. When the port closes, waiting and later calls fail as `unavailable`. */
export function remote<T extends Methods<T>>(port: MessagePort, methods: readonly (keyof T & string)[]): T {
  const waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>()
  let lastId = 0
  let closed = false
  port.on('message', ({ id, value, error }: Reply) => {
    const call = waiting.get(id)
    waiting.delete(id)
    if (error) call?.reject(fromSent(error))
    else call?.resolve(value)
  })
  port.on('close', () => {
    closed = true
    for (const { reject } of waiting.values()) reject(gone())
    waiting.clear()
  })
  const call = (method: string, args: readonly unknown[]) =>
    new Promise<unknown>((resolve, reject) => {
      if (closed) {
        reject(gone())
        return
      }
      const id = ++lastId
      waiting.set(id, { resolve, reject })
      port.postMessage({ id, method, args } satisfies Call)
    })
  return Object.fromEntries(methods.map(method => [method, (...args: unknown[]) => call(method, args)])) as unknown as T
}

function gone(): Failure {
  return new Failure('unavailable', 'the thread that answers this has ended')
}

function toSent(error: unknown): SentError {
  if (error instanceof Failure) return { message: error.message, code: error.code, field: error.field, retryAfterMs: error.retryAfterMs }
  return { message: error instanceof Error ? (error.stack ?? error.message) : String(error) }
}

function fromSent({ message, code, field, retryAfterMs }: SentError): Error {
  if (code === undefined) return new Error(message)
  const detail = { ...(field === undefined ? {} : { field }), ...(retryAfterMs === undefined ? {} : { retryAfterMs }) }
  return new Failure(code, message, detail)
}
