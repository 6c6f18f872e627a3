// The secret key in the data directory: made whole, once, and refused when it is not whole.
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { keepAdminKey, keptAdminKey, ownSecretKey, writeSecretly } from './secret.ts'

let dir: string
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'telltale-test-'))
})
afterEach(() => rm(dir, { recursive: true, force: true }))

describe('the secret key', () => {
  it('is made once, for its owner alone, and nothing lies beside it', async () => {
    const key = await ownSecretKey(dir)
    expect(key).toMatch(/^[0-9a-f]{64}$/)
    expect(await ownSecretKey(dir)).toBe(key)
    expect((await stat(join(dir, 'secret.key'))).mode & 0o777).toBe(0o600)
    expect(await readdir(dir)).toEqual(['secret.key'])
  })

  it.each(['', '\n', 'ab', 'a'.repeat(31)])('that was cut to %j is refused, and stays as it is', async text => {
    await writeFile(join(dir, 'secret.key'), text)
    await expect(ownSecretKey(dir)).rejects.toMatchObject({ code: 'setup', message: expect.stringMatching(/secret\.key is damaged/) })
    expect(await readFile(join(dir, 'secret.key'), 'utf8')).toBe(text)
  })

  it('is made although an earlier start was cut off while it made one', async () => {
    await writeFile(join(dir, 'secret.key.new'), 'ab', { mode: 0o644 })
    const key = await ownSecretKey(dir)
    expect(await readFile(join(dir, 'secret.key'), 'utf8')).toBe(`${key}\n`)
    expect((await stat(join(dir, 'secret.key'))).mode & 0o777).toBe(0o600)
  })
})

it.each(['', '{', 'null', '[]', '{"keyId":"k"}', '{"keyId":"k","secret":""}'])('a kept key of %j is none', async text => {
  await writeFile(join(dir, 'admin.json'), text)
  expect(await keptAdminKey(dir)).toBeUndefined()
  await keepAdminKey(dir, { keyId: 'k', secret: 's', project: 'p' })
  expect(await keptAdminKey(dir)).toEqual({ keyId: 'k', secret: 's' })
})

it('what is written again is replaced as a whole', async () => {
  const path = join(dir, 'admin.json')
  await writeFile(path, 'x'.repeat(1000), { mode: 0o644 })
  await writeSecretly(path, 'short')
  expect(await readFile(path, 'utf8')).toBe('short')
  expect((await stat(path)).mode & 0o777).toBe(0o600)
})
