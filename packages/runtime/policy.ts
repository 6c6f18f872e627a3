// What browsers are told: which pages may call the API, and what the console's own page may load.

/** Pages elsewhere may use the API with a token or a key of theirs; our cookie is never sent from there, nor may its header be. */
export const CORS = {
  origin: '*',
  methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
  allowedHeaders: [
    'authorization',
    'content-encoding',
    'content-type',
    'idempotency-key',
    'last-event-id',
    'x-consumer-id',
    'x-producer-id',
  ],
  exposedHeaders: ['retry-after', 'accept-encoding'],
  maxAge: 86_400,
  // OPTIONS that is no preflight is answered like one: the plugin would refuse it in plain text.
  strictPreflight: false,
}

/** The page has its scripts and styles in files of its own, and talks to nobody else. */
export const CSP = {
  'default-src': ["'self'"],
  'script-src': ["'self'"],
  'style-src': ["'self'"],
  'img-src': ["'self'", 'data:'],
  'connect-src': ["'self'"],
  'object-src': ["'none'"],
  'base-uri': ["'none'"],
  'form-action': ["'self'"],
  'frame-ancestors': ["'none'"],
}
