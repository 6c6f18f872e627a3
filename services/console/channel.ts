// Channels: where notifications of alarms go, managed by people.
import { Type } from 'typebox'
import { invalid } from '../../packages/core/failure.ts'
import { type Identity, newSecret } from '../../packages/identity/identity.ts'
import type { Outbound } from '../../packages/outbound/outbound.ts'
import { callerIn, type HttpApp } from '../../packages/runtime/http.ts'
import { decodeToken, encodeToken } from '../../packages/runtime/page.ts'
import { Empty, listOf, PageQuery, ProjectId } from '../../packages/runtime/schema.ts'
import type { Channel, Channels } from '../../packages/state/channel.ts'
import { checkHeaders } from './header.ts'

export type ChannelPorts = { readonly channels: Channels; readonly identity: Identity; readonly outbound: Outbound }

const ChannelBody = Type.Object(
  {
    type: Type.Literal('webhook'),
    url: Type.String({ maxLength: 2000 }),
    headers: Type.Optional(Type.Record(Type.String(), Type.String())),
    secret: Type.Optional(Type.String()),
  },
  { additionalProperties: false, examples: [{ type: 'webhook', url: 'https://ops.example.com/hook', headers: { 'x-site': 'north' } }] },
)
const ChannelAnswer = Type.Object({
  name: Type.String(),
  resource: Type.String(),
  type: Type.Literal('webhook'),
  url: Type.String(),
  headers: Type.Array(Type.String(), { description: 'their names; values are never shown' }),
  rule: Type.Optional(Type.String({ description: 'the rule that it was made with, and that it goes with' })),
})
const project = ProjectId
const tags = ['channels']
const One = Type.Object({ project, channel: Type.String({ examples: ['ops'] }) })
const MAX_PAGE = 1000
const NAME = /^[a-z0-9][a-z0-9_-]{0,62}$/
/** Standard Webhooks: `whsec_` and 24 to 64 bytes in base64. */
const SECRET = /^whsec_[A-Za-z0-9+/]{32,88}={0,2}$/

export function addChannelRoutes(app: HttpApp, { channels, identity, outbound }: ChannelPorts): void {
  app.get(
    '/v2/projects/:project/channels',
    {
      schema: {
        operationId: 'listChannels',
        summary: 'Lists channels',
        tags,
        params: Type.Object({ project }),
        querystring: Type.Object(PageQuery),
        response: { 200: listOf('channels', ChannelAnswer) },
      },
    },
    async request => {
      const { project } = request.params
      callerIn(request, project)
      const after = decodeToken(request.query.pageToken) ?? ''
      const limit = Math.min(request.query.pageSize ?? MAX_PAGE, MAX_PAGE)
      const all = (await channels.list(project)).toSorted((a, b) => (a.name < b.name ? -1 : 1)).filter(({ name }) => name > after)
      const page = all.slice(0, limit)
      const last = all.length > limit ? page.at(-1) : undefined
      return { channels: page.map(channel => toJson(project, channel)), nextPageToken: last ? encodeToken(last.name) : '' }
    },
  )
  app.get(
    '/v2/projects/:project/channels/:channel',
    { schema: { operationId: 'getChannel', summary: 'Gets a channel', tags, params: One, response: { 200: ChannelAnswer } } },
    async request => {
      const { project, channel } = request.params
      callerIn(request, project)
      return toJson(project, await channels.one(project, channel))
    },
  )
  app.put(
    '/v2/projects/:project/channels/:channel',
    {
      schema: {
        operationId: 'putChannel',
        summary: 'Creates or replaces a channel; its secret is shown once',
        tags,
        params: One,
        body: ChannelBody,
        response: { 200: Type.Object({ ...ChannelAnswer.properties, secret: Type.String() }) },
      },
    },
    async request => {
      const { project, channel: name } = request.params
      callerIn(request, project, 'developer')
      if (!NAME.test(name)) throw invalid('channel', 'expected 1 to 63 characters of a-z 0-9 _ - that start with a letter or digit')
      const { url, headers = {}, secret = freshSecret() } = request.body
      outbound.checkUrl(url, 'url')
      if (!SECRET.test(secret)) throw invalid('secret', 'expected whsec_ and 24 to 64 bytes in base64; leave it out to get one')
      checkHeaders(headers, 'headers')
      const sealed = { headers: identity.seal(JSON.stringify(headers)), secret: identity.seal(secret) }
      const channel: Channel = { name, type: 'webhook', url, headerNames: Object.keys(headers), ...sealed }
      await channels.save(project, channel)
      return { ...toJson(project, channel), secret }
    },
  )
  app.delete(
    '/v2/projects/:project/channels/:channel',
    { schema: { operationId: 'deleteChannel', summary: 'Deletes a channel', tags, params: One, response: { 200: Empty } } },
    async request => {
      const { project, channel } = request.params
      callerIn(request, project, 'developer')
      await channels.remove(project, channel)
      return {}
    },
  )
}

function freshSecret(): string {
  return `whsec_${Buffer.from(newSecret(), 'hex').toString('base64')}`
}

/** Secrets are shown once, when they are made; headers may hold some, so only their names are shown. */
function toJson(project: string, { name, type, url, headerNames, owner }: Channel) {
  const shown = { name, resource: `projects/${project}/channels/${name}`, type, url, headers: [...headerNames] }
  return owner === undefined ? shown : { ...shown, rule: owner.rule }
}
