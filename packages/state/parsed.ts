// Rules as they were parsed last: whoever reads the same text again gets the same rule, and compiles no expression twice.
import type { Rule } from '../core/rule.ts'
import type { BrokenRule } from './rule.ts'

type Read = (text: string, name: string) => Rule | BrokenRule

const MAX_CHARS = 16 * 1024 * 1024

export class ParsedRules {
  readonly #read: Read
  readonly #maxChars: number
  /** The one that was not asked for longest is first. */
  readonly #kept = new Map<string, { readonly text: string; readonly rule: Rule | BrokenRule }>()
  #chars = 0

  constructor(read: Read, maxChars = MAX_CHARS) {
    this.#read = read
    this.#maxChars = maxChars
  }

  /** Of one name at most one text is kept: the newest that was read. */
  read(project: string, name: string, text: string): Rule | BrokenRule {
    const key = `${project}\t${name}`
    const kept = this.#kept.get(key)
    if (kept) this.#forget(key, kept.text)
    const rule = kept?.text === text ? kept.rule : this.#read(text, name)
    this.#kept.set(key, { text, rule })
    this.#chars += text.length
    for (const [oldest, { text: old }] of this.#kept) {
      if (this.#chars <= this.#maxChars) break
      this.#forget(oldest, old)
    }
    return rule
  }

  #forget(key: string, text: string): void {
    this.#kept.delete(key)
    this.#chars -= text.length
  }
}
