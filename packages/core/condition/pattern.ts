// How big a pattern grows when it is compiled, told from its text: what is repeated is copied, and copies of copies multiply.

/**
 * How many letters, classes and groups there are at least once repetitions are written out. Text that is no pattern gives some number: who
 * compiles it says what is wrong with it.
 */
export function leastSize(pattern: string): number {
  const open: number[] = []
  /** Of what is around the innermost group that is open, and of what stands last in that. */
  let sum = 0
  let last = 0
  for (const [token] of pattern.matchAll(TOKEN)) {
    const times = REPEAT.exec(token)
    if (times) {
      const [, least = '', more, most = ''] = times
      const grown = last * Math.max(1, Number(more === undefined || most === '' ? least : most))
      sum += grown - last
      last = grown
    } else if (token === '(') {
      open.push(sum)
      sum = 0
      last = 0
    } else if (token === ')') {
      last = sum + 1
      sum = (open.pop() ?? 0) + last
    } else if (!/^[*+?|]$/.test(token)) {
      last = 1
      sum += 1
    }
  }
  return open.reduce((all, outer) => all + outer, sum)
}

const REPEAT = /^\{(\d+)(,(\d*))?\}$/
/** A repetition, a letter that stands for itself, a class, or one character. */
const TOKEN = /\{\d+(?:,\d*)?\}|\\[\s\S]|\[\^?\]?(?:\[:\^?\w+:\]|\\[\s\S]|[^\]\\])*\]|[\s\S]/g
