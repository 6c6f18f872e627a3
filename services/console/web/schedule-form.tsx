// When a rule is in force: a time zone, spans of the week, and days on which it is not.
import { useMemo } from 'preact/hooks'
import { getAt, listAt } from './draft.ts'
import type { Editor } from './editor.ts'
import { FlagField, ListField, TextField } from './field.tsx'

const PATH = ['schedule'] as const
const WORKING = { days: 'mon-fri', from: '07:00', to: '17:00' }
const DAYS = ['mon-fri', 'sat', 'sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat-sun', 'mon-sun']

export function ScheduleFields({ editor }: { readonly editor: Editor }) {
  const zones = useMemo(() => Intl.supportedValuesOf('timeZone'), [])
  if (getAt(editor.doc, PATH) === undefined) {
    const timezone = new Intl.DateTimeFormat().resolvedOptions().timeZone
    return (
      <p class="buttons">
        <button type="button" onClick={() => editor.set(PATH, { timezone, active: [WORKING] })}>
          Add a schedule
        </button>
        <span class="quiet">Without one the rule is in force always.</span>
      </p>
    )
  }
  const spans = listAt(editor.doc, [...PATH, 'active'])
  return (
    <>
      <TextField editor={editor} path={[...PATH, 'timezone']} label="Time zone" placeholder="Europe/Oslo" suggestions={zones} />
      {spans.map((_, index) => (
        <div class="fields span" key={index}>
          {Array.isArray(getAt(editor.doc, [...PATH, 'active', index, 'days'])) ? (
            <ListField editor={editor} path={[...PATH, 'active', index, 'days']} label="Days" suggestions={DAYS} />
          ) : (
            <TextField editor={editor} path={[...PATH, 'active', index, 'days']} label="Days" placeholder="every day" suggestions={DAYS} />
          )}
          <TextField editor={editor} path={[...PATH, 'active', index, 'from']} label="From" placeholder="07:00" />
          <TextField
            editor={editor}
            path={[...PATH, 'active', index, 'to']}
            label="To"
            placeholder="04:00"
            hint="earlier than from: the next day"
          />
          <p class="field-action">
            <button
              type="button"
              class="plain"
              aria-label={`Remove span ${index + 1}`}
              onClick={() => editor.set([...PATH, 'active', index], undefined)}
            >
              Remove
            </button>
          </p>
        </div>
      ))}
      <ListField
        editor={editor}
        path={[...PATH, 'holidays']}
        label="Holidays (optional)"
        placeholder="2026-12-25"
        hint="on these days it is not in force"
      />
      <FlagField editor={editor} path={[...PATH, 'inverse']} label="The other way round: in force outside of these times" />
      <p class="buttons">
        <button type="button" onClick={() => editor.set([...PATH, 'active'], [...spans, { ...WORKING, days: 'sat' }])}>
          Add a span
        </button>
        <button type="button" class="plain" onClick={() => editor.set(PATH, undefined)}>
          Remove the schedule
        </button>
      </p>
    </>
  )
}
