// What one connection may take before it is held up or cut off.

/** With its will. Most are of some 100 bytes. */
export const MAX_CONNECT_BYTES = 64 * 1024
/** Of QoS 2, between PUBLISH and PUBREL (GHSA-5jvp-3p2v-5qgf). */
export const MAX_UNRELEASED = 1000
/** Publishes of one connection that are under way; whoever has more of them sent is not read meanwhile. */
export const MAX_OPEN = 1000
export const MAX_OPEN_BYTES = 2 * 1024 * 1024
/** What may come before the login is done. */
export const MAX_HELD_BYTES = 64 * 1024
export const READ_BYTES = 64 * 1024
export const WRITE_BYTES = 256 * 1024
/** Who takes no acknowledgements for so long. */
export const UNREAD_MS = 10_000
/** For the last words. */
export const LINGER_MS = 1000
