// Topic filters and topics as trees of levels, so that neither a publish nor a SUBSCRIBE looks at all there are [MQTT-4.7.1-1, 4.7.3-4].

type Branch<T> = { readonly next: Map<string, Branch<T>>; readonly values: Set<T> }

/** What stands under filters; asked with a topic. */
export class FilterTree<T> {
  readonly #root: Branch<T> = { next: new Map(), values: new Set() }

  /** @returns whether it is the first under this filter. */
  add(filter: string, value: T): boolean {
    let at = this.#root
    for (const level of filter.split('/')) {
      const next = at.next.get(level) ?? { next: new Map(), values: new Set() }
      at.next.set(level, next)
      at = next
    }
    at.values.add(value)
    return at.values.size === 1
  }

  /** @returns whether it was the last under this filter. */
  delete(filter: string, value: T): boolean {
    const path: [Branch<T>, string][] = []
    let at: Branch<T> | undefined = this.#root
    for (const level of filter.split('/')) {
      path.push([at, level])
      at = at.next.get(level)
      if (!at) return false
    }
    if (!at.values.delete(value) || at.values.size > 0) return false
    for (const [parent, level] of path.reverse()) {
      const child = parent.next.get(level)
      if (!child || child.next.size > 0 || child.values.size > 0) break
      parent.next.delete(level)
    }
    return true
  }

  /** A value that stands under several filters is told of several times. */
  each(topic: string, tell: (value: T) => void): void {
    walk(this.#root, topic, values => {
      for (const value of values) tell(value)
      return false
    })
  }

  has(topic: string): boolean {
    return walk(this.#root, topic, () => true)
  }
}

function walk<T>(root: Branch<T>, topic: string, found: (values: ReadonlySet<T>) => boolean): boolean {
  const levels = topic.split('/')
  const told = (branch: Branch<T> | undefined) => branch !== undefined && branch.values.size > 0 && found(branch.values)
  const step = (branch: Branch<T>, index: number): boolean => {
    // Wildcards at the beginning do not match topics that begin with `$` [MQTT-4.7.2-1].
    const wild = index > 0 || !topic.startsWith('$')
    // `sport/#` matches `sport` too.
    if (wild && told(branch.next.get('#'))) return true
    const level = levels[index]
    if (level === undefined) return told(branch)
    const one = wild ? branch.next.get('+') : undefined
    const literal = level === '+' || level === '#' ? undefined : branch.next.get(level)
    return (literal !== undefined && step(literal, index + 1)) || (one !== undefined && step(one, index + 1))
  }
  return step(root, 0)
}

/** What stands at topics; asked with a filter. */
export class TopicTree<T> {
  readonly #root: Leaf<T> = { next: new Map(), value: undefined }

  /** Undefined: nothing stands there any more. @returns what stood there. */
  set(topic: string, value: T | undefined): T | undefined {
    const path: [Leaf<T>, string][] = []
    let at = this.#root
    for (const level of topic.split('/')) {
      path.push([at, level])
      let next = at.next.get(level)
      if (!next) {
        if (value === undefined) return undefined
        next = { next: new Map(), value: undefined }
        at.next.set(level, next)
      }
      at = next
    }
    const before = at.value
    at.value = value
    if (value === undefined)
      for (const [parent, level] of path.reverse()) {
        const child = parent.next.get(level)
        if (!child || child.next.size > 0 || child.value !== undefined) break
        parent.next.delete(level)
      }
    return before
  }

  get(topic: string): T | undefined {
    let at: Leaf<T> | undefined = this.#root
    for (const level of topic.split('/')) at = at?.next.get(level)
    return at?.value
  }

  /** In the order in which their levels first came. */
  *match(filter: string): Generator<T> {
    yield* under(this.#root, filter.split('/'), 0)
  }
}

type Leaf<T> = { readonly next: Map<string, Leaf<T>>; value: T | undefined }

function* under<T>(leaf: Leaf<T>, levels: readonly string[], index: number): Generator<T> {
  const level = levels[index]
  if (level === undefined) {
    if (leaf.value !== undefined) yield leaf.value
  } else if (level === '#') {
    yield* all(leaf, index === 0)
  } else if (level === '+') {
    for (const [name, next] of leaf.next) if (index > 0 || !name.startsWith('$')) yield* under(next, levels, index + 1)
  } else {
    const next = leaf.next.get(level)
    if (next) yield* under(next, levels, index + 1)
  }
}

function* all<T>(leaf: Leaf<T>, isRoot: boolean): Generator<T> {
  if (leaf.value !== undefined) yield leaf.value
  for (const [name, next] of leaf.next) if (!isRoot || !name.startsWith('$')) yield* all(next, false)
}
