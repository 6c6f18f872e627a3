// Silences: which alarms nobody is told of, why, by whom and until when; made and ended here.
import { useCallback, useState } from 'preact/hooks'
import type { Silence } from '../../../packages/client/index.ts'
import type { Feed } from './feed.ts'
import { formatAge, formatTimeOfDay } from './format.ts'
import { usePolled } from './poll.ts'
import { refusal } from './refusal.ts'
import { type MatcherDraft, matchersOf, matcherWords, orderSilences, SPANS, silenceOf } from './silence.ts'

const PAGE = 500
const MAX_ENDED = 20

export function SilenceSection({ feed, now }: { readonly feed: Feed; readonly now: number }) {
  const load = useCallback(() => feed.client.silences.list({ pageSize: PAGE }), [feed])
  const { value, failure, again } = usePolled(feed, load)
  const silences = orderSilences(value?.silences ?? [])
  const open = silences.filter(({ state }) => state !== 'expired')
  const ended = silences.slice(open.length)
  return (
    <section class="silences" aria-labelledby="silences">
      <div class="bar">
        <h2 id="silences">Silences</h2>
        <p class="quiet" data-shown>
          {value ? (open.length === 0 ? 'none: every alarm reaches its channels' : open.length) : failure ? '' : 'loading…'}
        </p>
      </div>
      {failure && (
        <p role="alert" class="problem">
          {refusal('Silences could not be loaded', failure)}
        </p>
      )}
      {open.length > 0 && <List feed={feed} silences={open} now={now} onChanged={again} />}
      <NewSilence feed={feed} onMade={again} />
      {ended.length > 0 && (
        <details>
          <summary>{ended.length.toLocaleString('en')} ended</summary>
          <List feed={feed} silences={ended.slice(0, MAX_ENDED)} now={now} onChanged={again} />
          {ended.length > MAX_ENDED && <p class="quiet">The last {MAX_ENDED} are shown.</p>}
        </details>
      )}
    </section>
  )
}

type ListProps = { readonly feed: Feed; readonly silences: readonly Silence[]; readonly now: number; readonly onChanged: () => void }

function List({ feed, silences, now, onChanged }: ListProps) {
  const [problem, setProblem] = useState('')
  const end = ({ id }: Silence) => {
    feed.client.silences.end(id).then(
      () => {
        setProblem('')
        onChanged()
      },
      (error: Error) => setProblem(refusal('Not ended', error)),
    )
  }
  return (
    <>
      <p role="alert" class="problem">
        {problem}
      </p>
      <ul class="cards">
        {silences.map(silence => (
          <li key={silence.id} data-silence={silence.id} data-state={silence.state}>
            <div class="what">
              <p>
                <strong>{matcherWords(silence.matchers)}</strong>
              </p>
              <p>{silence.reason}</p>
              <p class="quiet">
                {timeWords(silence, now)} · by {silence.author}
              </p>
            </div>
            {silence.state !== 'expired' && (
              <button type="button" onClick={() => end(silence)}>
                End now
              </button>
            )}
          </li>
        ))}
      </ul>
    </>
  )
}

function timeWords({ state, startTime, endTime }: Silence, now: number): string {
  const at = (time: string) => formatTimeOfDay(Date.parse(time), now)
  if (state === 'expired') return `ended ${at(endTime)}`
  return state === 'pending'
    ? `from ${at(startTime)} to ${at(endTime)}`
    : `for another ${formatAge(Date.parse(endTime) - now)}, until ${at(endTime)}`
}

const FIELDS = [
  ['rule', 'rule'],
  ['device', 'device'],
  ['severity', 'severity'],
] as const

function NewSilence({ feed, onMade }: { readonly feed: Feed; readonly onMade: () => void }) {
  const [drafts, setDrafts] = useState<readonly MatcherDraft[]>([{ field: 'rule', values: '' }])
  const [reason, setReason] = useState('')
  const [start, setStart] = useState('')
  const [span, setSpan] = useState(2)
  const [said, setSaid] = useState('')
  const [problem, setProblem] = useState('')
  const [busy, setBusy] = useState(false)
  const submit = (event: SubmitEvent) => {
    event.preventDefault()
    setBusy(true)
    setProblem('')
    setSaid('')
    const silence = silenceOf(drafts, reason, start, SPANS[span]?.[1] ?? 0, feed.now())
    feed.client.silences
      .create(silence)
      .then(
        () => {
          setDrafts([{ field: 'rule', values: '' }])
          setReason('')
          setSaid('Silenced.')
          onMade()
        },
        (error: Error) => setProblem(refusal('Not silenced', error)),
      )
      .finally(() => setBusy(false))
  }
  const change = (index: number, draft: Partial<MatcherDraft>) =>
    setDrafts(drafts.map((one, at) => (at === index ? { ...one, ...draft } : one)))
  return (
    <form class="silence-form" onSubmit={submit} aria-label="New silence">
      <h3>New silence</h3>
      {drafts.map((draft, index) => (
        <Matcher
          key={index}
          feed={feed}
          draft={draft}
          word={index === 0 ? 'Alarms whose' : 'and whose'}
          onChange={changed => change(index, changed)}
          onRemove={drafts.length > 1 ? () => setDrafts(drafts.filter((_, at) => at !== index)) : undefined}
        />
      ))}
      <p class="buttons">
        <button type="button" class="plain" onClick={() => setDrafts([...drafts, { field: 'device', values: '' }])}>
          Add a condition
        </button>
        <Preview feed={feed} drafts={drafts} />
      </p>
      <div class="line">
        <label>
          From (empty: now) <input type="datetime-local" value={start} onInput={event => setStart(event.currentTarget.value)} />
        </label>
        <label>
          For{' '}
          <select value={span} onChange={event => setSpan(Number(event.currentTarget.value))}>
            {SPANS.map(([name], index) => (
              <option key={name} value={index}>
                {name}
              </option>
            ))}
          </select>
        </label>
        <label class="grow-label">
          Reason{' '}
          <input
            value={reason}
            required
            maxLength={500}
            onInput={event => setReason(event.currentTarget.value)}
            placeholder="freezer is being defrosted"
          />
        </label>
        <button type="submit" class="primary" disabled={busy}>
          Silence
        </button>
        <span role="status">{said}</span>
      </div>
      <p role="alert" class="problem">
        {problem}
      </p>
    </form>
  )
}

type MatcherProps = {
  readonly feed: Feed
  readonly draft: MatcherDraft
  readonly word: string
  readonly onChange: (draft: Partial<MatcherDraft>) => void
  readonly onRemove: (() => void) | undefined
}

function Matcher({ feed, draft, word, onChange, onRemove }: MatcherProps) {
  const alarms = [...feed.alarms.values()]
  const keys = [...new Set(feed.fleet.rows().flatMap(row => [...row.labels.keys()]))].sort()
  const known: { readonly [field: string]: readonly string[] } = {
    rule: [...new Set(alarms.map(({ rule }) => rule))],
    device: feed.fleet.rows().map(({ id }) => id),
    severity: ['critical', 'warning', 'info'],
  }
  const id = `values-${draft.field}`
  return (
    <div class="line">
      <label>
        {word}{' '}
        <select value={draft.field} onChange={event => onChange({ field: event.currentTarget.value })}>
          {FIELDS.map(([field, text]) => (
            <option key={field} value={field}>
              {text}
            </option>
          ))}
          {keys.map(key => (
            <option key={key} value={`labels.${key}`}>
              label {key}
            </option>
          ))}
        </select>
      </label>
      <label>
        is{' '}
        <input
          value={draft.values}
          list={id}
          required
          spellcheck={false}
          autocapitalize="off"
          placeholder="one, or several with commas"
          onInput={event => onChange({ values: event.currentTarget.value })}
        />
      </label>
      <datalist id={id}>
        {(known[draft.field] ?? []).slice(0, 200).map(value => (
          <option key={value} value={value} />
        ))}
      </datalist>
      {onRemove && (
        <button type="button" class="plain" onClick={onRemove}>
          Remove
        </button>
      )}
    </div>
  )
}

function Preview({ feed, drafts }: { readonly feed: Feed; readonly drafts: readonly MatcherDraft[] }) {
  const [said, setSaid] = useState('')
  const matchers = matchersOf(drafts)
  const ask = () => {
    feed.client.silences.preview(matchers).then(
      ({ matching }) =>
        setSaid(matching === 1 ? '1 open alarm would be silenced' : `${matching.toLocaleString('en')} open alarms would be silenced`),
      (error: Error) => setSaid(error.message),
    )
  }
  return (
    <>
      <button type="button" class="plain" disabled={matchers.length === 0} onClick={ask}>
        Which alarms?
      </button>
      <span role="status" class="quiet">
        {said}
      </span>
    </>
  )
}
