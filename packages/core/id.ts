// Identifiers: the 20-character xid, and the hash by which a redelivered event is known.

const ALPHABET = '0123456789abcdefghijklmnopqrstuv'

/**
 * The 20 characters of an xid: 12 bytes as three 32-bit words, most significant first, in base 32 (0-9a-v).
 * By convention the first word is the time in seconds. Source: github.com/rs/xid, README "Features".
 */
export function xid(high: number, middle: number, low: number): string {
  let text = ''
  let bits = 0
  let held = 0
  for (const word of [high, middle, low])
    for (let shift = 24; shift >= 0; shift -= 8) {
      held = ((held << 8) | ((word >>> shift) & 0xff)) & 0x1fff
      bits += 8
      while (bits >= 5) {
        bits -= 5
        text += ALPHABET[(held >>> bits) & 31]
      }
    }
  return text + ALPHABET[(held << (5 - bits)) & 31]
}

/** Two independent 32-bit hashes of a text (multiply-xor rounds): not for secrets. */
export function hash(text: string): readonly [number, number] {
  let a = 0xdeadbeef
  let b = 0x41c6ce57
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    a = Math.imul(a ^ code, 0x9e3779b1)
    b = Math.imul(b ^ code, 0x5f356495)
  }
  a = Math.imul(a ^ (a >>> 16), 0x85ebca6b) ^ Math.imul(b ^ (b >>> 13), 0xc2b2ae35)
  b = Math.imul(b ^ (b >>> 16), 0x85ebca6b) ^ Math.imul(a ^ (a >>> 13), 0xc2b2ae35)
  return [a >>> 0, b >>> 0]
}

/** The key under which a repeat of the same thing is recognised: 64 bits of hash as text. */
export function contentKey(text: string): string {
  const [a, b] = hash(text)
  return a.toString(36) + b.toString(36).padStart(7, '0')
}

/** The xid of content: the same time and text always give the same id. */
export function contentId(timeUs: number, text: string): string {
  const [a, b] = hash(text)
  return xid(Math.floor(timeUs / 1_000_000) >>> 0, a, b)
}
