// The page of one rule: edited as a form or as YAML, tried on what a device has sent, its versions, and its end.
import { useCallback, useEffect, useLayoutEffect, useMemo, useReducer, useRef, useState } from 'preact/hooks'
import { choicesOf } from './choice.ts'
import { type Json, messageOf, textAt, written } from './draft.ts'
import { Editor, type Mode } from './editor.ts'
import type { Feed } from './feed.ts'
import { refusal } from './refusal.ts'
import { hashOf } from './route.ts'
import { createRule, getRule, getSchema, listRules, pathOf, replaceRule, validate } from './rule-call.ts'
import { type Choices, RuleForm } from './rule-form.tsx'
import { RuleRemoval } from './rule-removal.tsx'
import { RuleTrial } from './rule-trial.tsx'
import { RuleVersions } from './rule-versions.tsx'
import { conditionsIn } from './schema.ts'
import { YamlEditor } from './yaml-editor.tsx'

type Props = {
  readonly feed: Feed
  /** Undefined: a new one. */
  readonly name: string | undefined
  readonly copyOf: string | undefined
  readonly now: number
  readonly themeVersion: number
}
type Server = { readonly rule: Json; readonly schema: Json; readonly rules: readonly string[]; readonly channels: readonly string[] }

const MAX_RULES = 1000

async function loadServer(feed: Feed, name: string | undefined, copyOf: string | undefined): Promise<Server> {
  const source = name ?? copyOf
  const [rule, schema, { rules }, channels] = await Promise.all([
    source === undefined ? firstDraft(feed) : getRule(feed, source),
    getSchema(feed),
    listRules(feed, MAX_RULES),
    feed.client.request<{ readonly channels: readonly { readonly name: string }[] }>('GET', pathOf(feed, 'channels')),
  ])
  const copied = name === undefined && copyOf !== undefined ? { ...rule, name: `${copyOf}-copy` } : rule
  return { rule: copied, schema, rules: rules.map(one => textAt(one, ['name'])), channels: channels.channels.map(one => one.name) }
}

function firstDraft(feed: Feed): Json {
  const [row] = feed.fleet.rows()
  const { fields } = choicesOf(feed.fleet.rows())
  const field = fields[0] ?? 'temperature.value'
  return {
    name: '',
    select: { deviceTypes: row && fields.length > 0 ? [row.type] : [] },
    when: { threshold: { field } },
    for: '0s',
    severity: 'warning',
  }
}

export function RulePage({ feed, name, copyOf, now, themeVersion }: Props) {
  const [server, setServer] = useState<Server>()
  const [problem, setProblem] = useState('')
  const ask = useCallback(() => {
    setProblem('')
    loadServer(feed, name, copyOf).then(setServer, (error: Error) => setProblem(refusal('This rule could not be loaded', error)))
  }, [feed, name, copyOf])
  useEffect(ask, [ask])
  return (
    <>
      <p class="crumb">
        <a href={hashOf({ part: 'rules' })}>All rules</a>
      </p>
      {problem !== '' && (
        <p role="alert" class="problem">
          {problem}{' '}
          <button type="button" onClick={ask}>
            Try again
          </button>
        </p>
      )}
      {server === undefined && problem === '' && <p class="quiet">loading…</p>}
      {server && <Loaded feed={feed} name={name} server={server} now={now} themeVersion={themeVersion} onServer={setServer} />}
    </>
  )
}

type LoadedProps = Omit<Props, 'copyOf'> & { readonly server: Server; readonly onServer: (server: Server) => void }

function useEditor(feed: Feed, rule: Json): Editor | undefined {
  const [, redraw] = useReducer<number, void>(n => n + 1, 0)
  const editor = useRef<Editor | undefined>(undefined)
  const first = useRef(rule)
  useEffect(() => {
    const opened = new Editor(
      { validate: rule => validate(feed, rule), changed: redraw, signedOut: () => feed.signedOut() },
      written(first.current),
    )
    editor.current = opened
    redraw()
    return () => opened.close()
  }, [feed])
  return editor.current
}

function Loaded({ feed, name, server, now, themeVersion, onServer }: LoadedProps) {
  const editor = useEditor(feed, server.rule)
  const conditions = useMemo(() => conditionsIn(server.schema), [server.schema])
  const heading = useRef<HTMLHeadingElement>(null)
  useLayoutEffect(() => heading.current?.focus(), [])
  useEffect(() => keepFromLeaving(() => editor?.isDirty === true), [editor])
  const rows = feed.fleet.rows()
  const known = useMemo(() => choicesOf(rows), [feed.fleet.membership, rows.length])
  if (!editor) return null
  const choices: Choices = { ...known, conditions, channels: server.channels, rules: server.rules.filter(one => one !== name) }
  const version = server.rule['version']
  return (
    <>
      <section class="rule" aria-labelledby="rule">
        <div class="bar">
          <h2 id="rule" ref={heading} tabIndex={-1}>
            {name ?? 'New rule'}
          </h2>
          {name !== undefined && <span class="quiet">version {String(version)}</span>}
          {name !== undefined && <ActiveCount feed={feed} rule={name} />}
          <span class="grow" />
          {name !== undefined && (
            <a class="button" href={hashOf({ part: 'rules', rule: '~new', copyOf: name })}>
              Duplicate
            </a>
          )}
          {name !== undefined && <RuleRemoval feed={feed} rule={name} />}
        </div>
        <div class="rule-columns">
          <div>
            <Tabs editor={editor} />
            {editor.mode === 'form' ? (
              <RuleForm editor={editor} choices={choices} isNew={name === undefined} />
            ) : (
              <YamlEditor editor={editor} />
            )}
            <SaveBar feed={feed} editor={editor} name={name} version={version} onSaved={rule => onServer({ ...server, rule })} />
          </div>
          <RuleTrial feed={feed} editor={editor} name={name} now={now} themeVersion={themeVersion} />
        </div>
      </section>
      {name !== undefined && <RuleVersions feed={feed} rule={name} version={version} now={now} onRestore={rule => restore(editor, rule)} />}
    </>
  )
}

function restore(editor: Editor, rule: Json): void {
  editor.mode = 'form'
  editor.replace(written(rule))
  document.getElementById('rule')?.focus()
}

function keepFromLeaving(isDirty: () => boolean): () => void {
  const listener = (event: BeforeUnloadEvent) => {
    if (isDirty()) event.preventDefault()
  }
  addEventListener('beforeunload', listener)
  return () => removeEventListener('beforeunload', listener)
}

function ActiveCount({ feed, rule }: { readonly feed: Feed; readonly rule: string }) {
  const active = [...feed.alarms.values()].filter(alarm => alarm.rule === rule && alarm.state === 'active').length
  return active === 0 ? <span class="quiet">no active alarm</span> : <a href={hashOf({ part: 'alarms' })}>{active} active</a>
}

const TABS: readonly (readonly [Mode, string])[] = [
  ['form', 'Form'],
  ['yaml', 'YAML'],
]

function Tabs({ editor }: { readonly editor: Editor }) {
  const [problem, setProblem] = useState('')
  const show = (mode: Mode) => {
    void editor.show(mode).then(shown => setProblem(shown ? '' : 'The form shows rules only: mend the YAML first.'))
  }
  return (
    <div class="tabs">
      {TABS.map(([mode, text]) => (
        <button key={mode} type="button" aria-pressed={editor.mode === mode} onClick={() => show(mode)}>
          {text}
        </button>
      ))}
      <span role="alert" class="problem">
        {editor.mode === 'yaml' ? problem : ''}
      </span>
    </div>
  )
}

type SaveProps = {
  readonly feed: Feed
  readonly editor: Editor
  readonly name: string | undefined
  readonly version: unknown
  readonly onSaved: (rule: Json) => void
}

function SaveBar({ feed, editor, name, version, onSaved }: SaveProps) {
  const [busy, setBusy] = useState(false)
  const [said, setSaid] = useState('')
  const [problem, setProblem] = useState('')
  const save = async () => {
    await editor.check()
    if (!editor.isValid) {
      focusField(editor.problems[0]?.field ?? '')
      return
    }
    const saved = await (name === undefined ? createRule(feed, editor.doc) : replaceRule(feed, { ...editor.doc, name }, version))
    editor.saved(written(saved))
    setSaid(`Saved as version ${String(saved['version'])}.`)
    if (name === undefined) location.hash = hashOf({ part: 'rules', rule: textAt(saved, ['name']) })
    else onSaved(saved)
  }
  const submit = () => {
    setBusy(true)
    setProblem('')
    setSaid('')
    save()
      .catch((error: Error) => setProblem(refusal('Not saved', error)))
      .finally(() => setBusy(false))
  }
  return (
    <div class="save">
      <button type="button" class="primary" disabled={busy} onClick={submit}>
        {name === undefined ? 'Create rule' : 'Save'}
      </button>
      <Check editor={editor} />
      <span role="status">{said}</span>
      <p role="alert" class="problem">
        {problem}
      </p>
    </div>
  )
}

function Check({ editor }: { readonly editor: Editor }) {
  const [first, ...others] = editor.problems
  if (editor.failure) return <span class="problem">{refusal('Not checked', editor.failure)}</span>
  if (first === undefined)
    return <span class="quiet">{editor.isChecking ? 'checking…' : editor.isDirty ? 'valid, not saved' : 'valid'}</span>
  if (editor.mode === 'yaml')
    return <span class="problem">{editor.problems.length === 1 ? '1 problem' : `${editor.problems.length} problems`}</span>
  return (
    <span class="problem" data-problem>
      <button type="button" class="link" onClick={() => focusField(first.field)}>
        {first.field || 'rule'}
      </button>
      : {messageOf(first)}
      {others.length > 0 && ` (and ${others.length} more)`}
    </span>
  )
}

/** That of the field, or of the nearest thing around it that has an input. */
function focusField(field: string): void {
  const plain = field.replace(/\.(\d+)(?=\.|\[|$)/g, '[$1]')
  const inputs = [...document.querySelectorAll<HTMLElement>('[data-field]')]
  const around = inputs
    .filter(({ dataset: { field: own = '' } }) => own === plain || plain.startsWith(`${own}.`) || plain.startsWith(`${own}[`))
    .sort((a, b) => (b.dataset['field'] ?? '').length - (a.dataset['field'] ?? '').length)
  const [target = document.querySelector<HTMLElement>('.yaml textarea')] = around
  target?.closest('details')?.setAttribute('open', '')
  target?.focus()
}
