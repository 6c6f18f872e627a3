// A message to try a stream with.
import { useState } from 'preact/hooks'
import { type AppendedMessage, TelltaleError } from '../../../packages/client/index.ts'
import type { Feed } from './feed.ts'
import { propertiesOf } from './payload.ts'

type Props = { readonly feed: Feed; readonly stream: string; readonly onAppended: () => void }

const KINDS = ['text', 'JSON', 'base64'] as const
type Kind = (typeof KINDS)[number]

export function MessageForm({ feed, stream, onAppended }: Props) {
  const [payload, setPayload] = useState('')
  const [kind, setKind] = useState<Kind>('text')
  const [key, setKey] = useState('')
  const [properties, setProperties] = useState('')
  const [said, setSaid] = useState('')
  const [problem, setProblem] = useState('')
  const [busy, setBusy] = useState(false)
  const submit = (event: SubmitEvent) => {
    event.preventDefault()
    setBusy(true)
    setSaid('')
    setProblem('')
    append({ feed, stream }, { payload, kind, key, properties })
      .then(
        appended => {
          setSaid(`Appended at place ${appended?.seq ?? 0}.`)
          onAppended()
        },
        (error: Error) => setProblem(`Not appended: ${error.message}`),
      )
      .finally(() => setBusy(false))
  }
  return (
    <section aria-labelledby="append">
      <details>
        <summary id="append">Append a message</summary>
        <form class="message" onSubmit={submit}>
          <label for="payload">Payload</label>
          <textarea id="payload" rows={4} value={payload} spellcheck={false} onInput={event => setPayload(event.currentTarget.value)} />
          <label for="kind">It is</label>
          <select id="kind" value={kind} onChange={event => setKind(event.currentTarget.value as Kind)}>
            {KINDS.map(one => (
              <option key={one}>{one}</option>
            ))}
          </select>
          <label for="key">Key (optional)</label>
          <input id="key" value={key} maxLength={512} spellcheck={false} onInput={event => setKey(event.currentTarget.value)} />
          <label for="properties">Properties (optional), name=value on each line</label>
          <textarea
            id="properties"
            rows={2}
            value={properties}
            spellcheck={false}
            onInput={event => setProperties(event.currentTarget.value)}
          />
          <p>
            <button type="submit" class="primary" disabled={busy}>
              Append
            </button>{' '}
            <span role="status">{said}</span>
          </p>
          <p role="alert" class="problem">
            {problem}
          </p>
        </form>
      </details>
    </section>
  )
}

type Draft = { readonly payload: string; readonly kind: Kind; readonly key: string; readonly properties: string }

async function append({ feed, stream }: Pick<Props, 'feed' | 'stream'>, draft: Draft): Promise<AppendedMessage | undefined> {
  const properties = propertiesOf(draft.properties)
  if (properties === undefined) throw new TelltaleError(400, 'properties: expected name=value on each line')
  const about = { ...(draft.key === '' ? {} : { key: draft.key }), ...(Object.keys(properties).length === 0 ? {} : { properties }) }
  const [appended] = await feed.client.streams.append(stream, { ...about, payload: payloadOf(draft) })
  return appended
}

function payloadOf({ payload, kind }: Draft): unknown {
  if (kind === 'text') return payload
  try {
    if (kind === 'base64') return Uint8Array.from(atob(payload.trim()), char => char.charCodeAt(0))
    // As it was typed: numbers too large for JavaScript stay what they are.
    JSON.parse(payload)
    return payload
  } catch (cause) {
    throw new TelltaleError(400, `the payload is not ${kind}`, { cause })
  }
}
