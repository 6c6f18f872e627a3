// How grave: one word, or a ladder of them over the values.
import { listAt } from './draft.ts'
import type { Editor } from './editor.ts'
import { ChoiceField, NumberField } from './field.tsx'

const SEVERITIES = [
  ['info', 'info'],
  ['warning', 'warning'],
  ['critical', 'critical'],
] as const

export function SeverityFields({ editor }: { readonly editor: Editor }) {
  const { severity } = editor.doc
  const path = ['severity'] as const
  if (!Array.isArray(severity))
    return (
      <div class="fields">
        <ChoiceField editor={editor} path={path} label="Severity" choices={SEVERITIES} />
        <p class="field-action">
          <button type="button" onClick={() => editor.set(path, [{ severity: 'warning' }, { severity: 'critical' }])}>
            Make it a ladder
          </button>
        </p>
      </div>
    )
  const rungs = listAt(editor.doc, path)
  return (
    <>
      <p class="quiet hint">From the least to the gravest: this severity from this value on.</p>
      {rungs.map((_, index) => (
        <div class="fields rung" key={index}>
          <NumberField editor={editor} path={[...path, index, 'at']} label="From" />
          <ChoiceField editor={editor} path={[...path, index, 'severity']} label="Severity" choices={SEVERITIES} />
          <p class="field-action">
            <button
              type="button"
              class="plain"
              onClick={() => editor.set([...path, index], undefined)}
              aria-label={`Remove rung ${index + 1}`}
            >
              Remove
            </button>
          </p>
        </div>
      ))}
      <p class="buttons">
        {rungs.length < SEVERITIES.length && (
          <button type="button" onClick={() => editor.set(path, [...rungs, { severity: 'critical' }])}>
            Add a rung
          </button>
        )}
        <button type="button" class="plain" onClick={() => editor.set(path, 'warning')}>
          One severity instead
        </button>
      </p>
    </>
  )
}
