// JSON that every reader of lines can take.

const NON_ASCII = /[\u007f-\uffff]/g

/** Clients split lines at U+2028 or decode ASCII only, so everything beyond ASCII is escaped (contracts.md 1.b.3). */
export function asciiJson(value: unknown): string {
  return JSON.stringify(value).replace(NON_ASCII, char => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
}
