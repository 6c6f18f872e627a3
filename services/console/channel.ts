// Channels: where notifications of alarms go, managed by people.
import { Type } from 'typebox'
import { Value } from 'typebox/value'
import { invalid } from '../../packages/core/failure.ts'
import { type Identity, newSecret } from '../../packages/identity/identity.ts'
import type { Outbound } from '../../packages/outbound/outbound.ts'
import { callerIn, type HttpApp } from '../../packages/runtime/http.ts'
import type { Channel, Channels } from '../../packages/state/channel.ts'

export type ChannelPorts = { readonly channels: Channels; readonly identity: Identity; readonly outbound: Outbound }

type One = { Params: { project: string; channel: string } }
type All = { Params: { project: string } }

const ChannelBody = Type.Object(
  {
    type: Type.Literal('webhook'),
    url: Type.String({ maxLength: 2000 }),
    headers: Type.Optional(Type.Record(Type.String(), Type.String())),
    secret: Type.Optional(Type.String()),
  },
  { additionalProperties: false },
)
const NAME = /^[a-z0-9][a-z0-9_-]{0,62}$/
/** Standard Webhooks: `whsec_` and 24 to 64 bytes in base64. */
const SECRET = /^whsec_[A-Za-z0-9+/]{32,88}={0,2}$/
const HEADER_NAME = /^[A-Za-z0-9-]{1,64}$/
const HEADER_VALUE = /^[\x20-\x7e]{0,1000}$/

export function addChannelRoutes(app: HttpApp, { channels, identity, outbound }: ChannelPorts): void {
  app.get<All>('/v2/projects/:project/channels', async request => {
    const { project } = request.params
    callerIn(request, project)
    return { channels: (await channels.list(project)).map(channel => toJson(project, channel)), nextPageToken: '' }
  })
  app.put<One>('/v2/projects/:project/channels/:channel', { schema: { body: ChannelBody } }, async request => {
    const { project, channel: name } = request.params
    callerIn(request, project, 'developer')
    if (!NAME.test(name)) throw invalid('channel', 'expected 1 to 63 characters of a-z 0-9 _ - that start with a letter or digit')
    const { url, headers = {}, secret = freshSecret() } = Value.Parse(ChannelBody, request.body)
    outbound.checkUrl(url, 'url')
    if (!SECRET.test(secret)) throw invalid('secret', 'expected whsec_ and 24 to 64 bytes in base64; leave it out to get one')
    checkHeaders(headers)
    const sealed = { headers: identity.seal(JSON.stringify(headers)), secret: identity.seal(secret) }
    const channel: Channel = { name, type: 'webhook', url, headerNames: Object.keys(headers), ...sealed }
    await channels.save(project, channel)
    return { ...toJson(project, channel), secret }
  })
  app.delete<One>('/v2/projects/:project/channels/:channel', async request => {
    const { project, channel } = request.params
    callerIn(request, project, 'developer')
    await channels.remove(project, channel)
    return {}
  })
}

function freshSecret(): string {
  return `whsec_${Buffer.from(newSecret(), 'hex').toString('base64')}`
}

/** Set by us, or of the connection and not of the request. */
const OWN_HEADERS: ReadonlySet<string> = new Set([
  'content-type',
  'content-length',
  'host',
  'user-agent',
  'connection',
  'keep-alive',
  'transfer-encoding',
  'te',
  'trailer',
  'upgrade',
  'expect',
])

function checkHeaders(headers: Readonly<Record<string, string>>): void {
  const seen = new Set<string>()
  for (const [name, value] of Object.entries(headers)) {
    const lower = name.toLowerCase()
    const twice = seen.has(lower)
    seen.add(lower)
    if (!HEADER_NAME.test(name) || lower.startsWith('webhook-') || lower.startsWith('proxy-') || OWN_HEADERS.has(lower) || twice)
      throw invalid(`headers.${name}`, 'not a header that may be set here')
    if (!HEADER_VALUE.test(value)) throw invalid(`headers.${name}`, 'expected at most 1000 printable ASCII characters')
  }
}

/** Secrets are shown once, when they are made; headers may hold some, so only their names are shown. */
function toJson(project: string, { name, type, url, headerNames }: Channel): object {
  return { name, resource: `projects/${project}/channels/${name}`, type, url, headers: headerNames }
}
