// The data directory's lock, with real processes that live, die and race.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, readdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { newDirectory } from './fixture.ts'
import { lockDirectory } from './lock.ts'
import { identify, isAlive } from './process.ts'

const lockFiles = async (dir: string) => (await readdir(dir)).filter(name => name.startsWith('telltale.lock-'))

async function sleeper(): Promise<{ pid: number; end(): Promise<void> }> {
  const child = spawn('sleep', ['60'])
  onTestFinished(() => void child.kill('SIGKILL'))
  await once(child, 'spawn')
  return {
    pid: child.pid ?? 0,
    end: async () => {
      child.kill('SIGKILL')
      await once(child, 'exit')
    },
  }
}

const leaveLock = (dir: string, pid: number, started: string) => writeFile(join(dir, `telltale.lock-${pid}-${started}`), '')

describe('the lock of a data directory', () => {
  it('creates a missing directory that only its owner can enter', async () => {
    const dir = join(await newDirectory(), 'a', 'b')
    await lockDirectory(dir)
    expect((await stat(dir)).mode & 0o777).toBe(0o700)
  })

  it.skipIf(process.platform !== 'linux')('refuses a directory that cannot be made where it is, and does not try for ever', async () => {
    for (const dir of ['/proc/nope', '/proc/nope/below'])
      await expect(lockDirectory(dir)).rejects.toMatchObject({
        code: 'setup',
        message: `TELLTALE_DATA_DIR ${dir}: it cannot be created there. Name another directory.`,
      })
  })

  it('is free again after release, also when released twice', async () => {
    const dir = await newDirectory()
    const lock = await lockDirectory(dir)
    await lock.release()
    await lock.release()
    await expect(lockDirectory(dir)).resolves.toBeDefined()
  })

  it('refuses a second one in the same process', async () => {
    const dir = await newDirectory()
    await lockDirectory(dir)
    await expect(lockDirectory(dir)).rejects.toMatchObject({ code: 'setup', message: expect.stringContaining(`process ${process.pid}`) })
  })

  it('refuses while another living process holds it, and names that process and the setting', async () => {
    const dir = await newDirectory()
    const { pid } = await sleeper()
    await leaveLock(dir, pid, identify(pid).started)
    const words = new RegExp(`TELLTALE_DATA_DIR.*process ${pid}`)
    await expect(lockDirectory(dir)).rejects.toMatchObject({ code: 'setup', message: expect.stringMatching(words) })
    expect(await lockFiles(dir)).toHaveLength(1)
  })

  it('is taken over from a killed process', async () => {
    const dir = await newDirectory()
    const holder = await sleeper()
    await leaveLock(dir, holder.pid, identify(holder.pid).started)
    await holder.end()
    await lockDirectory(dir)
    expect(await lockFiles(dir)).toEqual([`telltale.lock-${process.pid}-${identify(process.pid).started}`])
  })

  it('is taken over from a killed process whose pid another one has now', async () => {
    const dir = await newDirectory()
    const { pid } = await sleeper()
    await leaveLock(dir, pid, 'earlier')
    await expect(lockDirectory(dir)).resolves.toBeDefined()
  })

  it('is had by one of many that start at the same moment beside a dead one', async () => {
    const dir = await newDirectory()
    await leaveLock(dir, 999_999_999, 'dead')
    const code = `
      const { lockDirectory } = await import(${JSON.stringify(new URL('./lock.ts', import.meta.url).href)})
      process.stdout.write('ready\\n')
      await new Promise(done => process.stdin.once('data', done))
      await lockDirectory(${JSON.stringify(dir)}).then(() => process.stdout.write('held\\n'), error => process.stdout.write(error.code + '\\n'))
      process.stdin.resume()`
    const starters = Array.from({ length: 4 }, () => spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', code]))
    onTestFinished(() => starters.forEach(starter => void starter.kill('SIGKILL')))
    const next = async () => (await Promise.all(starters.map(starter => once(starter.stdout, 'data')))).map(String)
    await next()
    const answers = next()
    for (const starter of starters) starter.stdin.write('go\n')
    expect((await answers).sort()).toEqual(['held\n', 'setup\n', 'setup\n', 'setup\n'])
  })

  it('refuses a file in place of the directory', async () => {
    const file = join(await newDirectory(), 'file')
    await writeFile(file, '')
    for (const dir of [file, join(file, 'below')])
      await expect(lockDirectory(dir)).rejects.toMatchObject({ code: 'setup', message: expect.stringMatching(/TELLTALE_DATA_DIR.*file/) })
  })

  it('refuses a directory that this user cannot write, with the way out', async () => {
    const dir = await newDirectory()
    await chmod(dir, 0o555)
    const wasRoot = process.getuid?.() === 0
    if (wasRoot) process.seteuid?.(65_534)
    try {
      await expect(lockDirectory(dir)).rejects.toMatchObject({ code: 'setup', message: expect.stringMatching(/TELLTALE_DATA_DIR.*chown/) })
    } finally {
      if (wasRoot) process.seteuid?.(0)
    }
  })
})

describe('a process', () => {
  it('is dead while it is a zombie that nobody has reaped', async () => {
    const shell = spawn('sh', ['-c', 'sleep 0 & echo $!; exec sleep 60'])
    onTestFinished(() => void shell.kill('SIGKILL'))
    const [line] = await once(shell.stdout, 'data')
    const zombie = identify(Number(String(line)))
    await expect.poll(() => isAlive(zombie)).toBe(false)
  })
})
