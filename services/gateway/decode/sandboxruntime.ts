// Somebody else's JavaScript at work: QuickJS, compiled to WebAssembly, in a memory of its own that cannot grow past its limit. Code sees
// its input and what the language has, and nothing of the host; text goes in and comes out. Runs on the sandbox's thread.
import compiled from '@jitl/quickjs-wasmfile-release-sync'
import {
  newQuickJSWASMModuleFromVariant,
  newVariant,
  type QuickJSContext,
  type QuickJSHandle,
  type QuickJSRuntime,
  type QuickJSSyncVariant,
  type QuickJSWASMModule,
} from 'quickjs-emscripten-core'
import { workMs, workOfThread } from './sandboxclock.ts'

/** Which of its functions is called: `decode`, or the ones that LoRaWAN network servers call. */
export type Entry = 'decode' | 'uplink'

export type Script = { readonly key: string; readonly code: string; readonly entry: Entry }

/** `mistake`: of the code, in words. `isSpent`: it took more time or memory than it may. */
export type Answer = { readonly json: string } | { readonly mistake: string; readonly isSpent?: boolean }

/** No code may have more; what does not let itself be stopped is ended with its thread. */
export const HARD_LIMIT_MS = 150
/** Of results as JSON. */
const MAX_RESULT_CHARS = 256 * 1024
/** Pages of 64 KiB, for all code together: QuickJS counts its memory by halves, so the limit that holds is that of WebAssembly. */
const MEMORY = { initial: 256, maximum: 512 }
/** The types of the package are those of its CommonJS half; those of Node leave WebAssembly out. */
const VARIANT = compiled as unknown as QuickJSSyncVariant
type SharedMemory = { readonly buffer: ArrayBuffer }
const { WebAssembly } = globalThis as unknown as { WebAssembly: { Memory: new (limits: typeof MEMORY) => SharedMemory } }
const PAGE_BYTES = 64 * 1024
const MAX_ALLOCATION_BYTES = 16 * 1024 * 1024
const MAX_STACK_BYTES = 256 * 1024
const MAX_OPEN = 32

/** Around the code, on a line of its own. Called anew for each payload, so that nothing of one is left for the next. */
const HEAD = '(function () {\n'
const TAIL = `
;return {
  decode: typeof decode === 'function' ? decode : undefined,
  decodeUplink: typeof decodeUplink === 'function' ? decodeUplink : undefined,
  normalizeUplink: typeof normalizeUplink === 'function' ? normalizeUplink : undefined,
  Decoder: typeof Decoder === 'function' ? Decoder : undefined,
  Decode: typeof Decode === 'function' ? Decode : undefined,
}
})`

/** Runs before the code, which may change what the language has, but not what was taken from it here. */
const RUNNER = `(function (global, parse, stringify, namesOf, isFinite) {
  const quiet = () => {}
  global.console = { log: quiet, info: quiet, warn: quiet, error: quiet, debug: quiet }
  const own = new Set(namesOf(global))
  const has = own.has.bind(own)

  function exact(key, value) {
    if (typeof value === 'number' && !isFinite(value)) throw new TypeError('the result has ' + value + (key === '' ? '' : ' as "' + key + '"') + '; expected a finite number')
    if (typeof value === 'bigint') return '' + value
    return value
  }

  function entryOf(code, name) {
    if (name === 'decode') {
      if (!code.decode) throw new TypeError('expected a function decode(input)')
      return code.decode
    }
    if (code.decodeUplink) return code.decodeUplink
    // Older network servers called it so.
    if (code.Decoder) return input => ({ data: code.Decoder(input.bytes, input.fPort) })
    if (code.Decode) return input => ({ data: code.Decode(input.fPort, input.bytes, input.variables) })
    throw new TypeError('expected a function decodeUplink(input)')
  }

  /** Text that is JSON comes as such, too. */
  function read(input) {
    if (input.text === undefined) return
    try {
      input.json = parse(input.text)
    } catch (error) {
      input.json = undefined
    }
  }

  function called(factory, name, text) {
    const code = factory()
    const decode = entryOf(code, name)
    if (text === '') return null
    const input = parse(text)
    if (name === 'decode') read(input)
    else if (input.recvTime !== undefined) input.recvTime = new Date(input.recvTime)
    const found = decode(input)
    if (typeof found === 'object' && found !== null && typeof found.then === 'function') throw new TypeError('the result is a promise; expected the value itself')
    if (name === 'uplink' && code.normalizeUplink && found && found.data && !(found.errors && found.errors.length > 0))
      found.normalized = code.normalizeUplink({ ...input, data: found.data })
    return found
  }

  /** The text of a TypeError in a tenth of a second is worth more than its stack. */
  function told(error) {
    if (!(error instanceof Error)) return 'threw ' + (typeof error === 'string' ? stringify(error.slice(0, 200)) : typeof error)
    const at = /\\((?:code):(\\d+):(\\d+)\\)/.exec('' + error.stack)
    return ('' + error.name + ': ' + error.message).slice(0, 300) + (at && at[1] > 1 ? ' (line ' + (at[1] - 1) + ', column ' + at[2] + ')' : '')
  }

  return function (factory, name, text, maxChars) {
    try {
      const found = stringify(called(factory, name, text), exact) ?? 'null'
      return found.length > maxChars ? '!RangeError: the result has ' + found.length + ' characters; expected at most ' + maxChars : found
    } catch (error) {
      try {
        return '!' + told(error)
      } catch (again) {
        return '!threw something that cannot be shown'
      }
    } finally {
      const names = namesOf(global)
      if (names.length !== own.size) for (const one of names) if (!has(one)) delete global[one]
    }
  }
})(globalThis, JSON.parse, JSON.stringify, Object.getOwnPropertyNames, Number.isFinite)`

const WARM_UP = 'function decode(input) { return [{ time: new Date(), sum: [1, 2].map(n => n / 3), text: /a(b)/.exec("ab" + 1) }] }'

type Open = {
  readonly runtime: QuickJSRuntime
  readonly context: QuickJSContext
  readonly run: QuickJSHandle
  readonly factory: QuickJSHandle
}

/** Code that is open stays so for the next payload, the least used is closed first. */
export class SandboxRuntime {
  #module: Promise<QuickJSWASMModule> | undefined
  #memory: SharedMemory | undefined
  readonly #open = new Map<string, Open>()
  #startedMs = 0
  #limitMs = 0
  #beats = 0
  #isOver = false
  readonly #thread = workOfThread()
  #startedWorkMs: number | undefined

  /** Takes a while, and so does the first code that runs: nobody's code should pay for it. */
  async load(): Promise<void> {
    await this.#attempt({ key: '', code: WARM_UP, entry: 'decode' }, '{"text":"{}"}', HARD_LIMIT_MS, () => {})
    this.#open.clear()
  }

  /** `input` as JSON; an empty one only asks whether the code can be called. */
  async run(script: Script, input: string, limitMs: number, starts: () => void): Promise<Answer> {
    const isFresh = this.#open.size === 0
    const answer = await this.#attempt(script, input, limitMs, starts)
    if (!('mistake' in answer) || !answer.isSpent) return answer
    // What others hold of the memory is not this one's fault, and whatever happened has left things as nobody knows.
    this.close()
    return isFresh || this.#isOver ? answer : this.#attempt(script, input, limitMs, starts)
  }

  /** What was open is let go of as a whole. */
  close(): void {
    this.#open.clear()
    this.#module = undefined
  }

  async #attempt(script: Script, input: string, limitMs: number, starts: () => void): Promise<Answer> {
    const module = await this.#load()
    starts()
    this.#begin(limitMs)
    try {
      const open = this.#opened(module, script)
      return 'mistake' in open ? open : this.#call(open, script.entry, input)
    } catch (error) {
      if (this.#isOver) return this.#late()
      // The interpreter itself broke: memory or stack gave out where it does not look.
      return { mistake: `used more memory than it may (${error instanceof Error ? error.message : 'broken'})`, isSpent: true }
    }
  }

  #load(): Promise<QuickJSWASMModule> {
    if (this.#module) return this.#module
    this.#memory = new WebAssembly.Memory(MEMORY)
    this.#module = newQuickJSWASMModuleFromVariant(newVariant(VARIANT, { wasmMemory: this.#memory }))
    return this.#module
  }

  /** Until it has grown there is room for all that one code may have: what that one says of it is not the fault of others. */
  get #hasGrown(): boolean {
    return (this.#memory?.buffer.byteLength ?? 0) > MEMORY.initial * PAGE_BYTES
  }

  #opened(module: QuickJSWASMModule, script: Script): Open | Extract<Answer, { mistake: string }> {
    const known = this.#open.get(script.key)
    if (known) {
      this.#open.delete(script.key)
      this.#open.set(script.key, known)
      return known
    }
    const runtime = module.newRuntime({ memoryLimitBytes: MAX_ALLOCATION_BYTES, maxStackSizeBytes: MAX_STACK_BYTES })
    runtime.setInterruptHandler(() => this.#beat())
    const context = runtime.newContext()
    const run = context.unwrapResult(context.evalCode(RUNNER, 'runner'))
    this.#begin(this.#limitMs)
    // Alone first: what stands around it would hide a bracket too many.
    const checked = context.evalCode(script.code, 'code', { type: 'global', compileOnly: true })
    if (checked.error) return this.#mistakeIn(context, checked.error, 0)
    checked.value.dispose()
    const made = context.evalCode(`${HEAD}${script.code}${TAIL}`, 'code')
    if (made.error) return this.#mistakeIn(context, made.error, 1)
    const open = { runtime, context, run, factory: made.value }
    this.#open.set(script.key, open)
    this.#closeOldest()
    return open
  }

  #closeOldest(): void {
    const [oldest] = this.#open
    if (!oldest || this.#open.size <= MAX_OPEN) return
    const [key, { runtime, context, run, factory }] = oldest
    this.#open.delete(key)
    for (const one of [run, factory, context, runtime]) one.dispose()
  }

  #call({ context, run, factory }: Open, entry: Entry, input: string): Answer {
    const given = [factory, context.newString(entry), context.newString(input), context.newNumber(MAX_RESULT_CHARS)] as const
    const found = context.callFunction(run, context.undefined, ...given)
    for (const one of given.slice(1)) one.dispose()
    if (found.error) {
      found.error.dispose()
      return this.#isOver ? this.#late() : { mistake: 'used more memory than it may', isSpent: true }
    }
    const text = found.value.consume(value => context.getString(value))
    if (!text.startsWith('!')) return { json: text }
    const mistake = text.slice(1)
    // Anybody can say so.
    if (!mistake.startsWith('InternalError: out of memory')) return { mistake }
    return { mistake: 'used more memory than it may', ...(this.#hasGrown ? { isSpent: true } : {}) }
  }

  #mistakeIn(context: QuickJSContext, error: QuickJSHandle, linesBefore: number): { mistake: string; isSpent?: boolean } {
    if (this.#isOver) return this.#late()
    const { name, message, stack } = error.consume(value => context.dump(value)) as { name?: string; message?: string; stack?: string }
    const [, line, column] = /\bcode:(\d+):(\d+)/.exec(stack ?? '') ?? []
    const place = line === undefined ? '' : ` (line ${Number(line) - linesBefore}, column ${column})`
    return { mistake: `${name ?? 'Error'}: ${message ?? 'cannot be read'}${place}` }
  }

  #late(): { mistake: string; isSpent: boolean } {
    return { mistake: `took longer than ${this.#limitMs} ms`, isSpent: true }
  }

  #begin(limitMs: number): void {
    this.#startedMs = performance.now()
    this.#limitMs = limitMs
    this.#beats = 0
    this.#startedWorkMs = undefined
    this.#isOver = false
  }

  /** Asked by the interpreter all the time; true stops the code for good. */
  #beat(): boolean {
    // Most code is done before the second.
    if (++this.#beats === 2) this.#startedWorkMs = this.#workMs()
    const ms = performance.now() - this.#startedMs
    if (ms > this.#limitMs) this.#isOver ||= this.#isSpent(ms)
    return this.#isOver
  }

  #isSpent(ms: number): boolean {
    const workedMs = this.#workMs()
    if (workedMs === undefined) return ms > HARD_LIMIT_MS
    this.#startedWorkMs ??= workedMs
    return workedMs - this.#startedWorkMs > this.#limitMs
  }

  #workMs(): number | undefined {
    return this.#thread === undefined ? undefined : workMs(this.#thread)
  }
}
