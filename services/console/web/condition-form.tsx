// The condition of a rule as inputs, made from the schema: a condition the server learns tomorrow has a form tomorrow.
import { getAt, isObject, type Json, listAt, messageOf, type Path, pathText, problemsAt } from './draft.ts'
import type { Editor } from './editor.ts'
import {
  ChoiceField,
  type FieldProps,
  FlagField,
  JsonField,
  ListField,
  NumberField,
  NumbersField,
  ScalarField,
  TextField,
} from './field.tsx'
import type { ConditionSchema, FieldSchema } from './schema.ts'

export type Known = {
  readonly conditions: readonly ConditionSchema[]
  /** Event types and readings that devices have sent. */
  readonly eventTypes: readonly string[]
  readonly fields: readonly string[]
}

type Props = { readonly editor: Editor; readonly path: Path; readonly known: Known; readonly label: string; readonly onRemove?: () => void }

const COMPOSITES: { readonly [name: string]: string } = { all: 'all of these hold', any: 'any of these holds', not: 'this does not hold' }

export function ConditionForm({ editor, path, known, label, onRemove }: Props) {
  const when = getAt(editor.doc, path)
  const [kind = ''] = isObject(when) ? Object.keys(when) : []
  const schema = known.conditions.find(({ name }) => name === kind)
  const problems = [path, [...path, kind]].flatMap(one => problemsAt(editor.problems, one, false))
  const id = `kind-${pathText(path)}`
  return (
    <div class="condition" data-condition={kind}>
      <div class="condition-kind">
        <label for={id}>{label}</label>
        <select
          id={id}
          data-field={pathText(path)}
          value={kind}
          onChange={event => editor.set(path, begin(event.currentTarget.value, when, known))}
        >
          {kind === '' && <option value="">choose…</option>}
          {kind !== '' && !schema && <option value={kind}>{kind}</option>}
          {known.conditions.map(({ name }) => (
            <option key={name} value={name}>
              {COMPOSITES[name] === undefined ? name : `${name}: ${COMPOSITES[name]}`}
            </option>
          ))}
        </select>
        {onRemove && (
          <button type="button" class="plain" onClick={onRemove} aria-label={`Remove the condition ${kind}`}>
            Remove
          </button>
        )}
      </div>
      {problems.length > 0 && <p class="problem">{problems.map(messageOf).join('; ')}</p>}
      {schema && schema.description !== '' && <p class="quiet hint">{schema.description}</p>}
      {kind !== '' && <Inside editor={editor} path={[...path, kind]} known={known} kind={kind} schema={schema} />}
    </div>
  )
}

/** Another kind of condition keeps what both have: the field stays when a threshold becomes a rate. */
function begin(kind: string, when: unknown, known: Known): Json | undefined {
  if (kind === '') return undefined
  const schema = known.conditions.find(({ name }) => name === kind)
  const [before] = isObject(when) ? Object.values(when) : []
  if (kind === 'not') return { not: isObject(when) && !('not' in when) ? when : {} }
  if (kind === 'all' || kind === 'any')
    return { [kind]: isObject(when) && Object.keys(when).length > 0 ? (Array.isArray(before) ? before : [when]) : [{}] }
  const kept = isObject(before) ? Object.entries(before).filter(([key]) => schema?.fields.some(({ name }) => name === key)) : []
  return { [kind]: Object.fromEntries(kept) }
}

type InsideProps = Omit<Props, 'label' | 'onRemove'> & { readonly kind: string; readonly schema: ConditionSchema | undefined }

function Inside({ editor, path, known, kind, schema }: InsideProps) {
  if (kind === 'not') return <ConditionForm editor={editor} path={path} known={known} label="Not" />
  if (kind === 'all' || kind === 'any') return <Conditions editor={editor} path={path} known={known} word={kind === 'all' ? 'and' : 'or'} />
  if (typeof getAt(editor.doc, path) === 'string') return <TextField editor={editor} path={path} label={labelOf(kind)} wide />
  if (schema === undefined || schema.fields.length === 0)
    return <JsonField editor={editor} path={path} label={kind} hint={schema?.description} />
  return <Fields editor={editor} path={path} known={known} fields={schema.fields} />
}

function Conditions({ editor, path, known, word }: Omit<Props, 'label' | 'onRemove'> & { readonly word: string }) {
  const list = listAt(editor.doc, path)
  return (
    <div class="conditions">
      {list.map((_, index) => (
        <ConditionForm
          key={index}
          editor={editor}
          path={[...path, index]}
          known={known}
          label={index === 0 ? 'Condition' : word}
          onRemove={() => editor.set([...path, index], undefined)}
        />
      ))}
      <p>
        <button type="button" onClick={() => editor.set(path, [...list, {}])}>
          Add a condition
        </button>
      </p>
    </div>
  )
}

type FieldsProps = Omit<Props, 'label' | 'onRemove'> & { readonly fields: readonly FieldSchema[] }

export function Fields({ editor, path, known, fields }: FieldsProps) {
  return (
    <div class="fields">
      {fields.map(schema => (
        <SchemaField key={schema.name} editor={editor} path={[...path, schema.name]} known={known} schema={schema} />
      ))}
    </div>
  )
}

/** What is long when it is written. */
const WIDE = ['field', 'expression']

type OneProps = Omit<FieldsProps, 'fields'> & { readonly schema: FieldSchema }

function SchemaField({ editor, path, known, schema }: OneProps) {
  const { name, kind, required, description, example, choices } = schema
  const props: FieldProps = {
    editor,
    path,
    label: labelOf(name),
    hint: description,
    placeholder: example,
    suggestions: name === 'field' ? known.fields : name === 'eventType' || name === 'eventTypes' ? known.eventTypes : choices,
  }
  if (kind === 'condition') return <ConditionForm editor={editor} path={path} known={known} label={labelOf(name)} />
  if (kind === 'conditions') return <Conditions editor={editor} path={path} known={known} word="and" />
  if (kind === 'group')
    return (
      <fieldset class="group">
        <legend>{props.label}</legend>
        <Fields editor={editor} path={path} known={known} fields={schema.fields} />
      </fieldset>
    )
  if (kind === 'choice') return <ChoiceField {...props} choices={choices.map(one => [one, one])} absent={required ? undefined : '–'} />
  const Input = INPUTS[kind] ?? JsonField
  return <Input {...props} wide={WIDE.includes(name)} />
}

/** `clearBelow` → `Clear below`. */
function labelOf(name: string): string {
  const words = name.replace(/[A-Z]/g, letter => ` ${letter.toLowerCase()}`)
  return words.charAt(0).toUpperCase() + words.slice(1)
}

const INPUTS: {
  readonly [kind in FieldSchema['kind']]?: (props: FieldProps & { readonly wide?: boolean }) => ReturnType<typeof TextField>
} = {
  text: TextField,
  number: NumberField,
  flag: FlagField,
  scalar: ScalarField,
  list: ListField,
  numbers: NumbersField,
}
