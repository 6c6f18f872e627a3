// The README against the program: settings, files and commands that it names.
import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { SETTINGS } from '../services/config.ts'

const at = (path: string) => new URL(`../${path}`, import.meta.url)
const text = (path: string) => readFileSync(at(path), 'utf8')

describe('the README', () => {
  const readme = text('README.md')

  it('has every setting with its default and meaning, and no other', () => {
    const rows = readme.split('\n').flatMap(line => (line.startsWith('| `TELLTALE_') ? [line.replace(/ +/g, ' ')] : []))
    expect(rows).toEqual(
      SETTINGS.map(({ name, fallback, meaning }) => `| \`${name}\` | ${fallback === '' ? '' : `\`${fallback}\` `}| ${meaning} |`),
    )
  })

  it('names scripts that there are', () => {
    const { scripts } = JSON.parse(text('package.json')) as { scripts: Record<string, string> }
    for (const [, name = ''] of `${readme}\n${text('CONTRIBUTING.md')}`.matchAll(/npm run (\w+)/g)) expect(scripts).toHaveProperty(name)
  })
})

describe.each(['README.md', 'CONTRIBUTING.md'])('%s', path => {
  it('names files and directories that there are', () => {
    const named = [...text(path).matchAll(/(?<!dist\/)\b(?:services|packages|deploy|test)\/[\w./-]*[\w/]/g)].map(([file]) => file)
    expect(named.filter(file => !existsSync(at(file)))).toEqual([])
  })
})
