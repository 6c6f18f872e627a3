// When this installation could not receive: what silence of devices is not counted over, by the time of each device.

/** In the server's time: nothing was received from the one moment until the other. */
export type Break = { readonly fromUs: number; readonly toUs: number }

/** Since when events of a device would have been received without a break, at a moment of its time; the end of a break in it. */
export type Listening = (atUs: number) => number

const ALWAYS = Number.NEGATIVE_INFINITY

/** Since when events were received without a break, at a moment of the server's time; within a break its end. `breaks` in their order. */
export function listeningSinceUs(breaks: readonly Break[], atUs: number): number {
  return breaks.findLast(({ fromUs }) => fromUs < atUs)?.toUs ?? ALWAYS
}

/** For a device whose clock is so far behind the server's. */
export function listeningFor(breaks: readonly Break[], offsetUs: number): Listening {
  return atUs => listeningSinceUs(breaks, atUs + offsetUs) - offsetUs
}
