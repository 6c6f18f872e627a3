// How much of a random load a test takes: enough on every run to find what has come loose, and more when there is time.

/** `TELLTALE_LONG=true` asks for the long run, as before a release. */
export const LONG = process.env['TELLTALE_LONG'] === 'true'
