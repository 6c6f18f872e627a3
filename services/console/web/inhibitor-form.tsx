// Other rules: while an alarm of theirs is active, nobody is told of this one.
import { isObject, listAt, type Path, textAt } from './draft.ts'
import type { Editor } from './editor.ts'
import { ListField, TextField } from './field.tsx'

const PATH = ['inhibitedBy'] as const

type Props = { readonly editor: Editor; readonly rules: readonly string[]; readonly labelKeys: readonly string[] }

/** An inhibitor without labels in common is written as the bare name. */
export function InhibitorFields({ editor, rules, labelKeys }: Props) {
  const list = listAt(editor.doc, PATH)
  return (
    <>
      {list.map((one, index) => (
        <div class="fields" key={index}>
          <TextField
            editor={editor}
            path={isObject(one) ? [...PATH, index, 'rule'] : [...PATH, index]}
            label="Inhibited by rule"
            suggestions={rules}
          />
          {isObject(one) ? (
            <ListField
              editor={editor}
              path={[...PATH, index, 'equal']}
              label="On devices with the same"
              hint="keys of labels in which both devices agree"
              placeholder="gateway"
              suggestions={labelKeys}
            />
          ) : (
            <p class="field-action">
              <button type="button" onClick={() => widen(editor, [...PATH, index])}>
                On other devices too
              </button>
            </p>
          )}
          <p class="field-action">
            <button
              type="button"
              class="plain"
              aria-label={`Remove inhibitor ${index + 1}`}
              onClick={() => editor.set([...PATH, index], undefined)}
            >
              Remove
            </button>
          </p>
        </div>
      ))}
      <p class="buttons">
        <button type="button" onClick={() => editor.set(PATH, [...list, { rule: '', equal: [] }])}>
          Add an inhibiting rule
        </button>
      </p>
    </>
  )
}

function widen(editor: Editor, path: Path): void {
  editor.set(path, { rule: textAt(editor.doc, path), equal: [] })
}
