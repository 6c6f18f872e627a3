// What the data directory keeps secret: the key that seals what Redis holds, and the first key for the command line of this machine.
import { open, readFile, rename } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { Failure } from '../packages/core/failure.ts'
import { isSecretKey, newSecret } from '../packages/identity/identity.ts'

/**
 * Made at the first start. One that is cut short is refused: with it, whoever guesses the rest makes himself tokens.
 * @throws Failure `setup`.
 */
export async function ownSecretKey(dataDir: string): Promise<string> {
  const path = join(dataDir, 'secret.key')
  const known = (await readFile(path, 'utf8').catch(absent))?.trim()
  if (known !== undefined && !isSecretKey(known))
    throw new Failure(
      'setup',
      `TELLTALE_DATA_DIR: ${path} is damaged: put it back from a backup; without one, delete it and the redis folder beside it, and begin anew`,
    )
  if (known !== undefined) return known
  const fresh = newSecret()
  await writeSecretly(path, `${fresh}\n`)
  return fresh
}

export type AdminKey = { readonly keyId: string; readonly secret: string; readonly project: string }

/** The key that an earlier start kept; undefined when there is none, or nothing that could be one. */
export async function keptAdminKey(dataDir: string): Promise<Omit<AdminKey, 'project'> | undefined> {
  const { keyId, secret } = fieldsOf((await readFile(adminPath(dataDir), 'utf8').catch(absent)) ?? '')
  return typeof keyId === 'string' && typeof secret === 'string' && keyId !== '' && secret !== '' ? { keyId, secret } : undefined
}

/** For the command line on this machine: who can read the data directory could read the secret anyhow. */
export async function keepAdminKey(dataDir: string, key: AdminKey): Promise<void> {
  await writeSecretly(adminPath(dataDir), `${JSON.stringify(key)}\n`)
}

function adminPath(dataDir: string): string {
  return join(dataDir, 'admin.json')
}

function fieldsOf(text: string): Readonly<Record<string, unknown>> {
  try {
    return Object(JSON.parse(text)) as Record<string, unknown>
  } catch (error) {
    // Written by an earlier version when the machine stopped; it will be written anew.
    if (error instanceof SyntaxError) return {}
    throw error
  }
}

/** All of it is in the file or nothing is, also when the machine stops in the middle; nobody else may read it. */
export async function writeSecretly(path: string, text: string): Promise<void> {
  const temporary = `${path}.new`
  const file = await open(temporary, 'w', 0o600)
  try {
    await file.chmod(0o600)
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(temporary, path)
  const directory = await open(dirname(path))
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

function absent(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error
  return undefined
}
