// The inputs of a form over one document: each has a place in it, says what is wrong there, and keeps half-typed numbers as they are typed.
import type { ComponentChildren } from 'preact'
import { useId, useState } from 'preact/hooks'
import { getAt, listAt, messageOf, type Path, pathText, problemsAt } from './draft.ts'
import type { Editor } from './editor.ts'

export type FieldProps = {
  readonly editor: Editor
  readonly path: Path
  readonly label: string
  readonly hint?: string | undefined
  readonly placeholder?: string | undefined
  /** To choose from; anything else may be typed. */
  readonly suggestions?: readonly string[] | undefined
}

type FrameProps = Pick<FieldProps, 'editor' | 'path' | 'label' | 'hint'> & {
  readonly deep?: boolean
  readonly wide?: boolean
  /** The input stands before its label. */
  readonly inline?: boolean
  readonly children: (own: Own) => ComponentChildren
}
/** What the input itself must carry. */
type Own = { readonly id: string; readonly 'aria-invalid': boolean; readonly 'aria-describedby': string; readonly 'data-field': string }

export function Frame({ editor, path, label, hint, deep = false, wide = false, inline = false, children }: FrameProps) {
  const id = useId()
  const problems = problemsAt(editor.problems, path, deep)
  const own = { id, 'aria-invalid': problems.length > 0, 'aria-describedby': `${id}-hint`, 'data-field': pathText(path) }
  return (
    <div class={inline ? 'field inline-field' : wide ? 'field wide-field' : 'field'}>
      <label for={id}>{label}</label>
      {children(own)}
      <p id={`${id}-hint`} class="hint">
        {problems.length > 0 ? <span class="problem">{problems.map(messageOf).join('; ')}</span> : <span class="quiet">{hint}</span>}
      </p>
    </div>
  )
}

type TypedProps = FieldProps & {
  readonly read: (text: string) => unknown
  readonly show?: (value: unknown) => string
  readonly mode?: 'decimal' | 'text'
  readonly wide?: boolean
}

/** What is typed is kept as long as it means what stands in the document. */
function TypedField({
  editor,
  path,
  label,
  hint,
  placeholder,
  suggestions = [],
  read,
  show = shown,
  mode = 'text',
  wide = false,
}: TypedProps) {
  const value = getAt(editor.doc, path)
  const [text, setText] = useState(show(value))
  const current = JSON.stringify(read(text)) === JSON.stringify(value) ? text : show(value)
  return (
    <Frame editor={editor} path={path} label={label} hint={hint} wide={wide} deep>
      {own => (
        <>
          <input
            {...own}
            value={current}
            placeholder={placeholder}
            inputMode={mode}
            spellcheck={false}
            autocapitalize="off"
            autocomplete="off"
            list={suggestions.length > 0 ? `${own.id}-list` : undefined}
            onInput={event => {
              setText(event.currentTarget.value)
              editor.set(path, read(event.currentTarget.value))
            }}
          />
          <Suggestions id={`${own.id}-list`} values={suggestions} />
        </>
      )}
    </Frame>
  )
}

const MAX_SUGGESTIONS = 200

function Suggestions({ id, values }: { readonly id: string; readonly values: readonly string[] }) {
  if (values.length === 0) return null
  return (
    <datalist id={id}>
      {values.slice(0, MAX_SUGGESTIONS).map(value => (
        <option key={value} value={value} />
      ))}
    </datalist>
  )
}

function shown(value: unknown): string {
  return value === undefined ? '' : typeof value === 'string' ? value : JSON.stringify(value)
}

export function TextField(props: FieldProps & { readonly wide?: boolean }) {
  return <TypedField {...props} read={text => (text === '' ? undefined : text)} />
}

/** What is no number goes to the server as it is: it says what is wrong with it. */
function readNumber(text: string): unknown {
  const plain = text.trim().replace(/^−/, '-')
  return plain === '' ? undefined : Number.isFinite(Number(plain)) ? Number(plain) : text
}

export function NumberField(props: FieldProps) {
  return <TypedField {...props} read={readNumber} mode="decimal" />
}

/** `2, 8`. */
export function NumbersField(props: FieldProps) {
  const read = (text: string) => (text.trim() === '' ? undefined : text.split(/[,;]|\bto\b/).map(readNumber))
  const show = (value: unknown) => (Array.isArray(value) ? value.map(shown).join(', ') : shown(value))
  return <TypedField {...props} read={read} show={show} />
}

/** A state may be a word, a number, yes or no. */
export function ScalarField(props: FieldProps) {
  return <TypedField {...props} read={text => (text === 'true' ? true : text === 'false' ? false : readNumber(text))} />
}

export function JsonField(props: FieldProps) {
  return <TypedField {...props} wide read={readJson} />
}

function readJson(text: string): unknown {
  if (text.trim() === '') return undefined
  try {
    return JSON.parse(text) as unknown
  } catch {
    // Half typed, or a plain word.
    return text
  }
}

type ChoiceProps = FieldProps & {
  readonly choices: readonly (readonly [value: string, text: string])[]
  readonly absent?: string | undefined
}

/** `absent`: the words for leaving it out. */
export function ChoiceField({ editor, path, label, hint, choices, absent }: ChoiceProps) {
  const value = getAt(editor.doc, path)
  const known = value === undefined || choices.some(([one]) => one === value)
  return (
    <Frame editor={editor} path={path} label={label} hint={hint}>
      {own => (
        <select {...own} value={shown(value)} onChange={event => editor.set(path, event.currentTarget.value || undefined)}>
          {(absent !== undefined || value === undefined) && <option value="">{absent ?? 'choose…'}</option>}
          {!known && <option value={shown(value)}>{shown(value)}</option>}
          {choices.map(([one, text]) => (
            <option key={one} value={one}>
              {text}
            </option>
          ))}
        </select>
      )}
    </Frame>
  )
}

export function FlagField({ editor, path, label, hint, isSetWhenAbsent = false }: FieldProps & { readonly isSetWhenAbsent?: boolean }) {
  const value = getAt(editor.doc, path)
  return (
    <Frame editor={editor} path={path} label={label} hint={hint} inline>
      {own => (
        <input
          {...own}
          type="checkbox"
          checked={value === true || (value === undefined && isSetWhenAbsent)}
          onChange={event => editor.set(path, event.currentTarget.checked)}
        />
      )}
    </Frame>
  )
}

/** A list of texts: each stands there with a way to remove it; Enter, or leaving the input, adds what was typed. */
export function ListField({ editor, path, label, hint, placeholder, suggestions = [] }: FieldProps) {
  const [text, setText] = useState('')
  const list = listAt(editor.doc, path).map(shown)
  const add = () => {
    const added = text.trim()
    setText('')
    if (added !== '' && !list.includes(added)) editor.set(path, [...list, added])
  }
  return (
    <Frame editor={editor} path={path} label={label} hint={hint} deep>
      {own => (
        <div class="chips">
          {list.map((one, index) => (
            <button
              key={one}
              type="button"
              class="chip"
              aria-label={`Remove ${one} from ${label}`}
              onClick={() => editor.set([...path, index], undefined)}
            >
              <bdi>{one}</bdi> <span aria-hidden="true">×</span>
            </button>
          ))}
          <input
            {...own}
            value={text}
            placeholder={list.length === 0 ? placeholder : 'add another'}
            spellcheck={false}
            autocapitalize="off"
            autocomplete="off"
            list={suggestions.length > 0 ? `${own.id}-list` : undefined}
            onInput={event => setText(event.currentTarget.value)}
            onKeyDown={event => {
              if (event.key !== 'Enter') return
              event.preventDefault()
              add()
            }}
            onBlur={add}
          />
          <Suggestions id={`${own.id}-list`} values={suggestions.filter(one => !list.includes(one))} />
        </div>
      )}
    </Frame>
  )
}
