// The webhooks that a rule of DT's alerting API has in itself, as channels that belong to the rule (contracts.md 1.a.12).
import type { Level, Webhook } from '../../packages/core/dtrule/level.ts'
import { invalid } from '../../packages/core/failure.ts'
import type { Rule } from '../../packages/core/rule.ts'
import type { Identity } from '../../packages/identity/identity.ts'
import type { Outbound } from '../../packages/outbound/outbound.ts'
import { newId } from '../../packages/runtime/id.ts'
import type { Channel, Owner } from '../../packages/state/channel.ts'
import { checkHeaders } from './header.ts'

export type ChannelMakers = { readonly identity: Identity; readonly outbound: Outbound }

/** What is shown of a rule's channels; one that was deleted is not. */
export function levelsOf(rule: Rule, channels: readonly Channel[]) {
  const told = rule.notify.flatMap(name => channels.find(channel => channel.name === name) ?? [])
  if (told.length === 0) return []
  const { level, escalateAfter } = told.find(({ owner }) => owner?.rule === rule.name)?.owner ?? { level: 'Level 1', escalateAfter: null }
  return [{ displayName: level, escalateAfter, actions: told.map(actionOf) }]
}

/**
 * The channels that a rule is to have. What is said of an address that it has already, but for the secret and values of headers, is
 * taken from there: nobody was shown them. A channel that the rule does not own stays as it is or is replaced by one that it owns.
 * @param before those that the rule has
 */
export function channelsFor(makers: ChannelMakers, name: string, level: Level | undefined, before: readonly Channel[]): Channel[] {
  if (level === undefined) return []
  const { displayName, escalateAfter, actions } = level
  const owner: Owner = { rule: name, level: displayName, escalateAfter }
  return actions.map((webhook, index) => {
    const path = `escalationLevels[0].actions[${index}].webhook`
    const same = before.find(({ url }) => url === webhook.url)
    if (same !== undefined && isAsItWas(webhook, same)) return same.owner?.rule === name ? { ...same, owner } : same
    return made(makers, webhook, same?.owner?.rule === name ? same : undefined, owner, path)
  })
}

function actionOf({ url, headerNames }: Channel) {
  const headers = Object.fromEntries(headerNames.map(name => [name, '']))
  return { type: 'WEBHOOK' as const, webhook: { url, signatureSecret: '', headers } }
}

function isAsItWas({ signatureSecret, headers }: Webhook, { headerNames }: Channel): boolean {
  const names = Object.keys(headers)
  const isSaid = signatureSecret !== '' || Object.values(headers).some(value => value !== '')
  return !isSaid && names.length === headerNames.length && names.every(name => headerNames.includes(name))
}

function made({ identity, outbound }: ChannelMakers, webhook: Webhook, own: Channel | undefined, owner: Owner, path: string): Channel {
  const { url, signatureSecret } = webhook
  outbound.checkUrl(url, `${path}.url`)
  checkHeaders(webhook.headers, `${path}.headers`)
  const known = own === undefined ? {} : (JSON.parse(identity.unseal(own.headers)) as Record<string, string>)
  const headers = Object.fromEntries(
    Object.entries(webhook.headers).map(([name, said]) => {
      const value = said === '' && Object.hasOwn(known, name) ? known[name] : said
      if (!value) throw invalid(`${path}.headers.${name}`, 'expected its value: it is not known from before')
      return [name, value]
    }),
  )
  const keepsSecret = own !== undefined && signatureSecret === ''
  return {
    name: own?.name ?? newId(),
    type: 'webhook',
    url,
    headerNames: Object.keys(headers),
    headers: identity.seal(JSON.stringify(headers)),
    secret: keepsSecret ? own.secret : identity.seal(signatureSecret),
    ...(keepsSecret && own.signature === undefined ? {} : { signature: 'dt' as const }),
    owner,
  }
}
