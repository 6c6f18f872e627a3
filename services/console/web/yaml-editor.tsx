// The YAML of a rule: lines with numbers, those with a mistake marked, and what is wrong as links that put the cursor there.
import { useLayoutEffect, useRef } from 'preact/hooks'
import type { Problem } from './draft.ts'
import type { Editor } from './editor.ts'

export function YamlEditor({ editor }: { readonly editor: Editor }) {
  const area = useRef<HTMLTextAreaElement>(null)
  const gutter = useRef<HTMLDivElement>(null)
  useLayoutEffect(() => area.current?.focus(), [])
  const lines = editor.text.split('\n')
  const wrong = new Set(editor.problems.map(({ line }) => line))
  const go = ({ line, column }: Problem) => {
    const at = lines.slice(0, (line ?? 1) - 1).reduce((sum, one) => sum + one.length + 1, 0) + (column ?? 1) - 1
    area.current?.focus()
    area.current?.setSelectionRange(at, at)
  }
  return (
    <div class="yaml">
      <div class="yaml-text">
        <div class="gutter" ref={gutter} aria-hidden="true">
          {lines.map((_, index) => (
            <div key={index} class={wrong.has(index + 1) ? 'wrong' : ''} data-line={index + 1}>
              {index + 1}
            </div>
          ))}
        </div>
        <textarea
          ref={area}
          aria-label="Rule as YAML"
          aria-invalid={editor.problems.length > 0}
          aria-describedby="yaml-problems"
          rows={Math.min(36, Math.max(16, lines.length + 1))}
          wrap="off"
          spellcheck={false}
          autocapitalize="off"
          value={editor.text}
          onInput={event => editor.type(event.currentTarget.value)}
          onKeyDown={event => keepIndent(event, editor)}
          onScroll={event => {
            if (gutter.current) gutter.current.scrollTop = event.currentTarget.scrollTop
          }}
        />
      </div>
      <ul id="yaml-problems" class="yaml-problems">
        {editor.problems.map((problem, index) => (
          <li key={index} class="problem" data-problem-line={problem.line}>
            {problem.line !== undefined && (
              <>
                <button type="button" class="link" onClick={() => go(problem)}>
                  line {problem.line}
                  {problem.column !== undefined && `, column ${problem.column}`}
                </button>
                {': '}
              </>
            )}
            {problem.message}
          </li>
        ))}
      </ul>
    </div>
  )
}

/** A new line begins where the last one began. */
function keepIndent(event: KeyboardEvent & { readonly currentTarget: HTMLTextAreaElement }, editor: Editor): void {
  if (event.key !== 'Enter' || event.isComposing) return
  event.preventDefault()
  const area = event.currentTarget
  const before = area.value.slice(0, area.selectionStart)
  const [indent = ''] = /^[ ]*(?:- )?/.exec(before.slice(before.lastIndexOf('\n') + 1)) ?? []
  area.setRangeText(`\n${' '.repeat(indent.length)}`, area.selectionStart, area.selectionEnd, 'end')
  editor.type(area.value)
}
