// What makes a secret one that anybody can guess: words from manuals, repetitions, runs along the alphabet or the keyboard.

const WORDS: ReadonlySet<string> = new Set(
  `a admin administrator at be change changed changeit changeme changethis characters demo default dev development example first for guest
  here in insecure is it key least letmein local long me more must my not only or pass password please production public put replace
  root secret secure set some something super telltale test text the this to token topsecret use user value very welcome your`.split(/\s+/),
)
const RUNS = ['abcdefghijklmnopqrstuvwxyz', '01234567890', 'qwertyuiop', 'asdfghjkl', 'zxcvbnm'].flatMap(run => [
  run,
  Array.from(run).reverse().join(''),
])
const MIN_RUN = 4
/** As in `p4ssw0rd`. */
const LETTERS: Readonly<Record<string, string>> = { '0': 'o', '1': 'i', '3': 'e', '4': 'a', '5': 's', '7': 't', '@': 'a', $: 's' }
/** Of 16 random hexadecimal characters all but one in a million have this many different ones. */
const MIN_DIFFERENT = 6
/** What is left when everything known is taken away. */
const MIN_REST = 8

/** Why a secret is weak, without repeating it; undefined when nothing speaks against it. */
export function weaknessOf(secret: string): string | undefined {
  const text = secret.toLowerCase()
  if (text.length < 16) return 'shorter than 16 characters'
  if (new Set(text).size < MIN_DIFFERENT) return 'too few different characters'
  // A text that repeats a part is found in itself, doubled, before its end.
  if (`${text}${text}`.indexOf(text, 1) < text.length) return 'a repetition'
  if (unknownPart(text).length < MIN_REST) return 'well-known words'
  return undefined
}

/** Only whole parts are known: letters of a random text that happen to spell a word stay. */
function unknownPart(text: string): string {
  const letters = withoutRuns(text).replace(/[013457@$]/g, character => LETTERS[character] ?? character)
  return letters
    .split(/[^a-z0-9]+/)
    .filter(part => !isMadeOfWords(part))
    .join('')
}

function isMadeOfWords(part: string): boolean {
  const reached = new Set([0])
  for (let end = 1; end <= part.length; end++) for (const start of reached) if (WORDS.has(part.slice(start, end))) reached.add(end)
  return reached.has(part.length)
}

function withoutRuns(text: string): string {
  let rest = ''
  for (let i = 0; i < text.length; ) {
    const length = Math.max(...RUNS.map(run => common(text.slice(i), run.slice(Math.max(0, run.indexOf(text.charAt(i)))))))
    if (length < MIN_RUN) rest += text[i]
    i += length < MIN_RUN ? 1 : length
  }
  return rest
}

function common(a: string, b: string): number {
  let length = 0
  while (length < a.length && a[length] === b[length]) length++
  return length
}
