// One rule being edited, as a form and as YAML: one document, checked by the server a moment after each change.
import { TelltaleError } from '../../../packages/client/index.ts'
import { type Json, type Path, type Problem, setAt } from './draft.ts'
import type { Validation } from './rule-call.ts'

export type Mode = 'form' | 'yaml'

export type EditorPorts = {
  /** A document, or a text that may be one. */
  readonly validate: (rule: Json | string) => Promise<Validation>
  readonly changed: () => void
  readonly signedOut: () => void
  /** It is checked when nothing was changed for this long. */
  readonly checkAfterMs?: number
}

const CHECK_AFTER_MS = 300

export class Editor {
  mode: Mode = 'form'
  /** The last document that could be read: while the YAML is broken, that before it broke. */
  doc: Json
  /** Of the YAML tab. */
  text = ''
  problems: readonly Problem[] = []
  /** The document as it stands has been checked and is a rule. */
  isValid = false
  isChecking = false
  /** Something was changed since it was opened or saved. */
  isDirty = false
  /** Why it cannot be checked at all: the server is away, or does not want to. */
  failure: TelltaleError | undefined
  readonly #ports: EditorPorts
  #yaml: string | undefined
  #timer: ReturnType<typeof setTimeout> | undefined
  #round = 0
  #closed = false

  constructor(ports: EditorPorts, doc: Json) {
    this.#ports = ports
    this.doc = doc
    void this.check()
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
  }

  set(path: Path, value: unknown): void {
    this.replace(setAt(this.doc, path, value) as Json)
  }

  replace(doc: Json): void {
    this.doc = doc
    this.#touched()
  }

  type(text: string): void {
    this.text = text
    this.#touched()
  }

  saved(doc: Json): void {
    this.doc = doc
    this.isDirty = false
    this.#round += 1
    if (this.mode === 'form') void this.check()
    else void this.#showYaml()
  }

  /** The other tab, if the document can be shown in it: what cannot be read as a rule has no form. */
  async show(mode: Mode): Promise<boolean> {
    if (mode === this.mode) return true
    if (mode === 'yaml') return this.#showYaml()
    await this.check()
    if (!this.isValid) return false
    this.mode = 'form'
    this.#ports.changed()
    return true
  }

  /** Asks now. What comes after a later change counts no more. */
  async check(): Promise<void> {
    clearTimeout(this.#timer)
    const round = ++this.#round
    const asked = this.mode === 'yaml' ? this.text : this.doc
    this.isChecking = true
    try {
      const found = await this.#ports.validate(asked)
      if (round === this.#round && !this.#closed) this.#take(found)
    } catch (error) {
      if (!(error instanceof TelltaleError)) throw error
      if (round === this.#round && !this.#closed) this.#failed(error)
    }
  }

  async #showYaml(): Promise<boolean> {
    if (this.mode === 'yaml' || this.#yaml === undefined || this.isChecking) {
      this.mode = 'form'
      await this.check()
    }
    // JSON is YAML too: what is no rule yet can still be worked on.
    this.text = this.#yaml ?? `${JSON.stringify(this.doc, null, 2)}\n`
    this.mode = 'yaml'
    await this.check()
    return true
  }

  #touched(): void {
    this.isDirty = true
    this.isValid = false
    this.#yaml = undefined
    this.isChecking = true
    this.#round += 1
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => void this.check(), this.#ports.checkAfterMs ?? CHECK_AFTER_MS)
    this.#ports.changed()
  }

  #take({ valid, rule, yaml, errors }: Validation): void {
    this.isChecking = false
    this.failure = undefined
    this.problems = errors
    this.isValid = valid
    this.#yaml = yaml
    if (valid && this.mode === 'yaml' && rule !== undefined) this.doc = rule
    this.#ports.changed()
  }

  #failed(failure: TelltaleError): void {
    this.isChecking = false
    this.isValid = false
    if (failure.code === 'unauthenticated') this.#ports.signedOut()
    this.failure = failure
    this.problems = []
    this.#ports.changed()
  }
}
