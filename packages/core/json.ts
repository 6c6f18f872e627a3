// JSON that every reader of lines can take.

const NON_ASCII = /[\u007f-\uffff]/
const EACH_NON_ASCII = /[\u007f-\uffff]/g

/** Clients split lines at U+2028 or decode ASCII only, so everything beyond ASCII is escaped (contracts.md 1.b.3). */
export function asciiJson(value: unknown): string {
  const json = JSON.stringify(value)
  if (!NON_ASCII.test(json)) return json
  return json.replace(EACH_NON_ASCII, char => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
}
