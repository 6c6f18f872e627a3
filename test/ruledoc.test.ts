// What docs/rules.md shows can be saved as it stands there: every block is a rule, or one `when:` or several. Files of tests are run elsewhere.
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { parseRule } from '../packages/core/rule.ts'

const text = readFileSync(new URL('../docs/rules.md', import.meta.url), 'utf8')
const examples = [...text.matchAll(/^## (.+)\n|^```yaml\n([\s\S]*?)^```/gm)]
  .reduce<{ section: string; found: [string, string][] }>(
    ({ section, found }, [, title, block]) => {
      if (title !== undefined) return { section: title, found }
      // Several conditions in one block are so many rules.
      const parts = (block ?? '').split(/^(?=when:)/m).filter(part => part.trim() !== '')
      const rules = block?.startsWith('when:') ? parts : [block ?? '']
      return { section, found: [...found, ...rules.map((rule): [string, string] => [section, rule])] }
    },
    { section: '', found: [] },
  )
  .found.filter(([section]) => section !== 'Rules as files')

describe('docs/rules.md', () => {
  it('has examples', () => expect(examples.length).toBeGreaterThan(8))

  it.each(examples)('shows rules of %s that are understood:\n%s', (_, yaml) => {
    expect(() => parseRule({ name: 'example', ...(parse(yaml) as object) })).not.toThrow()
  })
})
