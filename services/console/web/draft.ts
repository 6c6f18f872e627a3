// The document of a rule while it is edited: plain JSON, read and changed by path; and how two versions of it differ.

export type Json = { readonly [key: string]: unknown }
export type Path = readonly (string | number)[]
/** As the server says it: `field` is a dotted path such as `severity[0].at`; lines and columns count from 1. */
export type Problem = { readonly field: string; readonly message: string; readonly line?: number; readonly column?: number }

export function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export function getAt(doc: unknown, path: Path): unknown {
  let found = doc
  for (const key of path) {
    if (Array.isArray(found)) found = (found as readonly unknown[])[Number(key)]
    else found = isObject(found) && Object.hasOwn(found, key) ? found[key] : undefined
  }
  return found
}

export function textAt(doc: unknown, path: Path): string {
  const value = getAt(doc, path)
  return typeof value === 'string' ? value : ''
}

export function listAt(doc: unknown, path: Path): readonly unknown[] {
  const value = getAt(doc, path)
  return Array.isArray(value) ? (value as readonly unknown[]) : []
}

/** A copy in which `value` stands at the path; objects on the way are made, `undefined` takes the key (or the place of a list) away. */
export function setAt(doc: unknown, path: Path, value: unknown): unknown {
  const [key, ...rest] = path
  if (key === undefined) return value
  if (typeof key === 'number') {
    const list = Array.isArray(doc) ? [...(doc as readonly unknown[])] : []
    const inner = setAt(list[key], rest, value)
    if (inner === undefined) list.splice(key, 1)
    else list[key] = inner
    return list
  }
  const { [key]: before, ...others } = isObject(doc) ? doc : {}
  const inner = setAt(before, rest, value)
  // In the place where it stood, so that the YAML keeps its order.
  if (before !== undefined && inner !== undefined) return { ...(doc as Json), [key]: inner }
  return inner === undefined ? others : { ...others, [key]: inner }
}

/** `['severity', 0, 'at']` → `severity[0].at`, as the server names fields. */
export function pathText(path: Path): string {
  return path.reduce<string>((text, key) => (typeof key === 'number' ? `${text}[${key}]` : text === '' ? key : `${text}.${key}`), '')
}

/** What is wrong with the field itself or, `deep`, with something inside it. The server writes `notify.0` as well as `notify[0]`. */
export function problemsAt(problems: readonly Problem[], path: Path, deep: boolean): readonly Problem[] {
  const own = pathText(path)
  return problems.filter(({ field }) => {
    const plain = field.replace(/\.(\d+)(?=\.|\[|$)/g, '[$1]')
    return plain === own || (deep && own !== '' && (plain.startsWith(`${own}.`) || plain.startsWith(`${own}[`)))
  })
}

/** What stands in a message of the server without the field it begins with: the form shows it beside the field. */
export function messageOf({ field, message }: Problem): string {
  return field !== '' && message.startsWith(`${field}: `) ? message.slice(field.length + 2) : message
}

/** Set by the server, and not part of what a person writes. */
const NOT_WRITTEN: readonly string[] = ['resource', 'version']
/** What is meant when nothing is said. */
const MEANT: { readonly [key: string]: (value: unknown) => boolean } = {
  title: value => value === '',
  for: isNoTime,
  keepActive: isNoTime,
  unacknowledgeAfter: isNoTime,
  late: value => value === 'ignore',
  groupBy: isEmpty,
  inhibitedBy: isEmpty,
  notify: isEmpty,
  schedule: value => value === null,
}

/** The rule as a person would write it. */
export function written(rule: Json): Json {
  return Object.fromEntries(Object.entries(rule).filter(([key, value]) => !NOT_WRITTEN.includes(key) && MEANT[key]?.(value) !== true))
}

function isNoTime(value: unknown): boolean {
  return typeof value === 'string' && /^0+(ms|s|m|h|d)$/.test(value)
}

function isEmpty(value: unknown): boolean {
  return Array.isArray(value) && value.length === 0
}

export type Difference = { readonly path: string; readonly from: unknown; readonly to: unknown }

/** Where two documents say something else; `undefined` where one says nothing. */
export function differences(from: unknown, to: unknown, path: Path = []): Difference[] {
  if (isObject(from) && isObject(to)) {
    const keys = [...new Set([...Object.keys(from), ...Object.keys(to)])]
    return keys.flatMap(key => differences(from[key], to[key], [...path, key]))
  }
  if (Array.isArray(from) && Array.isArray(to) && [...from, ...to].some(isObject)) {
    const length = Math.max(from.length, to.length)
    return Array.from({ length }, (_, index) => index).flatMap(index =>
      differences((from as readonly unknown[])[index], (to as readonly unknown[])[index], [...path, index]),
    )
  }
  return JSON.stringify(from) === JSON.stringify(to) ? [] : [{ path: pathText(path), from, to }]
}
