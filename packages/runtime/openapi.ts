// The OpenAPI document, generated from the routes as they are registered, and the page that shows it.
import fastifySwagger from '@fastify/swagger'
import fastifySwaggerUi from '@fastify/swagger-ui'
import type { RouteOptions } from 'fastify'
import type { HttpApp } from './http.ts'
import { ErrorBody, exampleOf, NoQuery } from './schema.ts'
import { publicUrl } from './verb.ts'

const DESCRIPTION = `Devices, live streams, history, rules and alarms.
Every parameter may be written in camelCase or snake_case, and lists are repeated keys. Errors name the field and what was expected there.`

const DOCS = '/docs'
/** The page styles its own elements; everything comes from here. */
const DOCS_CSP =
  "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"

/** Before the routes: it collects them as they come. */
export async function addOpenApi(app: HttpApp, version: string): Promise<void> {
  await app.register(fastifySwagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Telltale', version, description: DESCRIPTION, license: { name: 'Apache-2.0', identifier: 'Apache-2.0' } },
      components: {
        securitySchemes: {
          key: { type: 'http', scheme: 'basic', description: 'key id and secret, where the service account allows it' },
          token: { type: 'http', scheme: 'bearer', description: 'access token of POST /oauth2/token' },
          query: { type: 'apiKey', in: 'query', name: 'token', description: 'the same token, for clients that can set no header' },
        },
      },
      security: [{ key: [] }, { token: [] }, { query: [] }],
    },
    // Only here: to the plugin a colon in an address is a parameter.
    transformObject: document => {
      if (!('openapiObject' in document)) throw new Error('the document is not of OpenAPI 3')
      const { paths = {}, ...rest } = document.openapiObject
      return {
        ...rest,
        paths: Object.fromEntries(Object.entries(paths).map(([path, item]) => [publicUrl(path), item])),
      } as typeof document.openapiObject
    },
    transform: ({ schema, url, route }) => ({
      url,
      schema: {
        ...schema,
        ...(schema?.body ? { body: { ...schema.body, examples: [exampleOf(schema.body)] } } : {}),
        ...(route.config?.open ? { security: [] } : {}),
        hide: schema?.operationId === undefined,
      },
    }),
  })
  app.addHook('onRoute', route => {
    if (route.url.startsWith(DOCS)) route.config = { ...route.config, open: true }
    checkDescribed(route)
    describeErrors(route)
    closeQuery(route)
  })
  app.get('/openapi.json', { config: { open: true } }, () => app.swagger())
  await app.register(fastifySwaggerUi, { routePrefix: DOCS, staticCSP: true, transformStaticCSP: () => DOCS_CSP, logLevel: 'warn' })
}

const API = /^(\/emulator)?\/v2(alpha)?\//

/** What is not described is not in the document, and no client, fuzz or test of the examples would know of it: it stops the start. */
function checkDescribed({ method, url, schema }: RouteOptions): void {
  const route = `${String(method)} ${publicUrl(url)}`
  if (schema?.operationId === undefined) {
    if (API.test(url)) throw new Error(`${route}: a route of the API needs an operationId`)
    return
  }
  if (schema.body && exampleOf(schema.body) === undefined)
    throw new Error(`${route}: its body needs an example, or one of each field that must be there`)
}

function describeErrors(route: RouteOptions): void {
  if (route.schema?.operationId === undefined) return
  route.schema.response = { ...(route.schema.response as object), default: ErrorBody }
}

/** Without a schema a query is not looked at: what it asks for would be ignored without a word. */
function closeQuery({ url, schema }: RouteOptions): void {
  if (API.test(url) && schema && !schema.querystring) schema.querystring = NoQuery
}
