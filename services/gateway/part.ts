// Which part of a payload an event is, so that it is known again when the payload is decoded once more: perhaps by a decoder that was mended
// meanwhile, and gives more events, others, or the same ones in another order.
import { contentKey } from '../../packages/core/id.ts'
import { type Decoded, elementOf, type Fit, type Incoming } from './decode/event.ts'

/** Of each that is an event; by the element that it was made of, its device and type, and a number among those that are alike in this. */
export function partsOf(decoded: readonly Decoded[]): (string | undefined)[] {
  const parts = new Parts()
  return decoded.map(one => ('event' in one ? parts.of(one) : undefined))
}

class Parts {
  readonly #counts = new Map<string, number>()
  /** Many are made of one element, which may be the whole payload. */
  readonly #elements = new Map<string | Buffer, string>()

  of(one: Fit): string {
    const part = contentKey(`${one.event.device}\t${one.event.eventType}\t${this.#elementKey(elementOf(one))}`)
    const count = this.#counts.get(part) ?? 0
    this.#counts.set(part, count + 1)
    return count === 0 ? part : `${part}.${count}`
  }

  #elementKey(element: string | Buffer): string {
    let key = this.#elements.get(element)
    if (key === undefined) {
      key = contentKey(typeof element === 'string' ? element : element.toString('latin1'))
      this.#elements.set(element, key)
    }
    return key
  }
}

/** What is kept of those that were accepted when others of their payload were not: three ways to know each again, strictest first. */
export function marksOf(decoded: readonly Decoded[]): string[] {
  const parts = partsOf(decoded)
  return decoded.flatMap((one, index) => ('event' in one ? [`${contentOf(one.event)} ${parts[index]} ${momentOf(one.event)}`] : []))
}

export type Placed = { readonly one: Decoded; readonly index: number; readonly part: string | undefined }

/**
 * Each that was accepted stands for one that is: the same, else the same part of the payload, else what its device said of that time. What is
 * then left was not accepted, or is by today's decoder another device's or of another type.
 */
export function withoutAccepted(decoded: readonly Decoded[], accepted: readonly string[]): Placed[] {
  const parts = partsOf(decoded)
  let left: (Placed & { readonly names: readonly string[] })[] = decoded.map((one, index) => {
    const names = 'event' in one ? [contentOf(one.event), parts[index] ?? '', momentOf(one.event)] : []
    return { one, index, part: parts[index], names }
  })
  let marks: readonly (readonly string[])[] = accepted.map(mark => mark.split(' '))
  for (const way of [0, 1, 2]) {
    const open = new Map<string, (readonly string[])[]>()
    for (const mark of marks) {
      const name = mark[way] ?? ''
      const alike = open.get(name)
      if (alike) alike.push(mark)
      else if (name !== '') open.set(name, [mark])
    }
    const found = new Set<readonly string[]>()
    left = left.filter(({ names }) => {
      const mark = open.get(names[way] ?? '')?.shift()
      if (mark) found.add(mark)
      return mark === undefined
    })
    marks = marks.filter(mark => !found.has(mark))
  }
  return left
}

function contentOf({ device, eventType, timeUs, key, sent }: Incoming): string {
  return contentKey(`${device}\t${eventType}\t${key === undefined ? '' : timeUs}\t${JSON.stringify(sent)}`)
}

/** Empty for what has no time of its own. */
function momentOf({ device, eventType, timeUs, key }: Incoming): string {
  return key === undefined ? '' : contentKey(`${device}\t${eventType}\t${timeUs}`)
}
