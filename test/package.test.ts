// `@telltale/client` as somebody has it who installed it: packed, unpacked elsewhere, its README's programs run as they stand.
import { execFile } from 'node:child_process'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { newDirectory, ROOT, removeDirectories, startTelltale, type Telltale } from './world.ts'

const run = promisify(execFile)
const PACKAGE = join(ROOT, 'packages/client')

describe('the client’s package', () => {
  let telltale: Telltale
  let home: string
  let programs: string[]

  beforeAll(async () => {
    home = await newDirectory()
    const installed = join(home, 'node_modules/@telltale/client')
    await mkdir(installed, { recursive: true })
    const { stdout } = await run('npm', ['pack', '--silent', '--pack-destination', home], { cwd: PACKAGE })
    await run('tar', ['-xzf', join(home, stdout.trim().split('\n').at(-1) ?? ''), '--strip-components=1', '-C', installed])
    const readme = await readFile(join(installed, 'README.md'), 'utf8')
    programs = [...readme.matchAll(/^```js\n(.*?)^```$/gms)].map(([, program = '']) => program)
    telltale = await startTelltale()
  }, 120_000)
  afterAll(async () => {
    await telltale.remove()
    await removeDirectories()
  })

  async function program(index: number): Promise<string> {
    const path = join(home, `example-${index}.mjs`)
    await writeFile(path, programs[index] ?? '')
    const { keyId, secret } = telltale.key
    const env = { ...process.env, TELLTALE_HTTP_URL: telltale.url(), TELLTALE_KEY_ID: keyId, TELLTALE_SECRET: secret }
    return (await run(process.execPath, [path], { env, timeout: 15_000 })).stdout
  }

  test('the README’s programs do what they say', async () => {
    expect(programs).toHaveLength(4)
    expect(await program(0)).toMatch(/^on disk: [0-9a-v]{20}\nrefused: .*device.*\n$/)
    expect(await program(1)).toMatch(/^\S+Z -18\.4 °C\na later program goes on with cursor: '\S+'\n$/)
    expect(await program(2)).toMatch(/freezer-1.*\d+ readings\n404 not_found .*nobody.*\n$/s)
    expect(await program(3)).toBe('1 dev-9 {"celsius":4.65}\n2 null as text\n2 appended\n')
  })

  test('a TypeScript program has its types, and is told what is wrong', async () => {
    const good = `import { Telltale, type TelltaleEvent } from '@telltale/client'
declare module '@telltale/client' { interface EventFields { vibration: { rms: number } } }
const telltale = new Telltale({ url: 'http://x', project: 'p', token: 't' })
export const valueOf = (event: TelltaleEvent): number | undefined => {
  if (event.eventType === 'co2') return event.data.co2.ppm
  return event.eventType === 'vibration' ? event.data.vibration.rms : undefined
}
await telltale.publish({ device: 'd', data: { vibration: { rms: 1 } } })
for await (const item of telltale.stream({ gaps: 'yield' })) if (item.eventType === 'gap') console.log(item.data.gap.to)
`
    const bad = `import { Telltale } from '@telltale/client'
const telltale = new Telltale({ url: 'http://x', project: 'p', token: 't' })
await telltale.publish({ device: 'd', data: { temperature: { celsius: 1 } } })
`
    await writeFile(join(home, 'good.mts'), good)
    await writeFile(join(home, 'bad.mts'), bad)
    const check = (file: string) => {
      const options = ['--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2023', '--lib', 'es2023,dom', '--types', '']
      return run(join(ROOT, 'node_modules/.bin/tsc'), [...options, file], { cwd: home }).then(
        () => '',
        (error: { stdout: string }) => error.stdout,
      )
    }
    expect(await check('good.mts')).toBe('')
    expect(await check('bad.mts')).toMatch(/bad\.mts\(3,.*celsius/s)
  }, 30_000)

  test('it needs no other package, and nothing of Node', async () => {
    const root = join(home, 'node_modules/@telltale/client')
    const files = (await readdir(join(root, 'dist'), { recursive: true })).filter(name => name.endsWith('.js'))
    const texts = await Promise.all(files.map(name => readFile(join(root, 'dist', name), 'utf8')))
    const imported = texts.flatMap(text => [...text.matchAll(/(?:from|import) '([^']+)'/g)].map(([, from]) => from))
    expect(imported.filter(from => !from?.startsWith('.'))).toEqual([])
    expect(JSON.parse(await readFile(join(root, 'package.json'), 'utf8'))).not.toHaveProperty('dependencies')
  })
})
