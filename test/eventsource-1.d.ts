// The old `eventsource` 1.x, which many programs still use: what the example of it needs.
declare module 'eventsource-1' {
  export default class EventSource {
    constructor(url: string, init?: { readonly headers?: Readonly<Record<string, string>> })
    onopen: (() => void) | null
    onmessage: ((message: { readonly data: string; readonly lastEventId: string }) => void) | null
    onerror: ((error: { readonly status?: number; readonly message?: string }) => void) | null
    close(): void
  }
}
