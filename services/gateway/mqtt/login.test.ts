// Who is let in over MQTT, by what CONNECT and the connection show; and the code that who is not is told.
import { describe, expect, it, vi } from 'vitest'
import { Failure } from '../../../packages/core/failure.ts'
import type { Caller } from '../../../packages/identity/identity.ts'
import { GUESS_LIMITS, Guesses } from '../../../packages/runtime/guess.ts'
import type { From } from '../guard/inside.ts'
import { login, loginRefusal, type Shown } from './login.ts'

const SECRET = 'secret of sixteen'
const device = { project: 'home', id: 'pump-1' }
const account = 'projects/home/devices/pump-1'
const KEY: Caller = { keyId: 'key', account: 'a', roles: { home: 'developer' } }
const OWN: Caller = { keyId: 'dev1', account, roles: {}, device }
const OTHER: Caller = { keyId: 'dev2', account: 'projects/home/devices/pump-2', roles: {}, device: { project: 'home', id: 'pump-2' } }
const CERTIFIED: Caller = { keyId: account, account, roles: {}, device }

const identity = {
  login: async (id: string, secret: string) => (secret === SECRET ? [KEY, OWN, OTHER].find(({ keyId }) => keyId === id) : undefined),
  certified: async (project: string) => (project === 'home' ? CERTIFIED : undefined),
}
const open = (limits = GUESS_LIMITS) => ({ identity, guesses: new Guesses(limits, () => 0) })

type Given = { readonly username?: string | undefined; readonly password?: string | Buffer | undefined; readonly clientId?: string }
const shown = ({ username, password, clientId = 'c' }: Given): Shown => ({
  clientId,
  username,
  password: password === undefined ? undefined : Buffer.from(password),
})
const codeFor = async (from: From, given: Given, ports = open(), decided = () => {}) => {
  try {
    return await login(ports, from, shown(given), decided)
  } catch (error) {
    return (loginRefusal(error) as { returnCode?: number }).returnCode
  }
}
const here: From = { address: '10.0.0.1' }
const certified: From = { address: '10.0.0.1', device }

describe('a login over MQTT', () => {
  const password = SECRET
  it.each<[string, From, Given, Caller | number]>([
    ['takes a key', here, { username: 'key', password }, KEY],
    ['takes a device credential', here, { username: 'dev1', password }, OWN],
    ['refuses nobody with 5', here, {}, 5],
    ['refuses a wrong secret with 5', here, { username: 'key', password: 'no' }, 5],
    ['refuses an unknown user with 5', here, { username: 'nobody', password }, 5],
    ['refuses an empty secret with 5', here, { username: 'key', password: '' }, 5],
    ['refuses a missing secret with 4', here, { username: 'key' }, 4],
    ['refuses an empty user name with 4', here, { username: '', password }, 4],
    ['refuses a secret that is no UTF-8 with 4', here, { username: 'key', password: Buffer.from([0xc3, 0x28]) }, 4],
    ['refuses + in a client id with 2', here, { username: 'key', password, clientId: 'a+b' }, 2],
    ['refuses # in a client id with 2, whatever the secret', here, { username: 'key', password: 'no', clientId: '#' }, 2],
    ['takes names that objects inherit for what they are', here, { username: '__proto__', password, clientId: 'constructor' }, 5],
    ['takes a certificate alone', certified, {}, CERTIFIED],
    ['takes a certificate with the id of its device', certified, { username: 'pump-1' }, CERTIFIED],
    ['takes a certificate with the name of its device', certified, { username: account, password: 'any' }, CERTIFIED],
    ['takes a certificate with a credential of its device', certified, { username: 'dev1', password }, OWN],
    ['refuses a certificate with the credential of another device', certified, { username: 'dev2', password }, 5],
    ['refuses a certificate with a key', certified, { username: 'key', password }, 5],
    ['refuses a certificate with another name', certified, { username: 'pump-2', password: 'x' }, 5],
    ['refuses a certificate of a project that is not here', { ...certified, device: { project: 'gone', id: 'a' } }, {}, 5],
  ])('%s', async (_, from, given, expected) => {
    expect(await codeFor(from, given)).toBe(expected)
  })

  it.each([
    ['Redis away', new Failure('unavailable', 'away')],
    ['a bug', new Error('oh')],
    ['what is no error', 'oh'],
  ])('is refused with 3 for %s', (_, error) => {
    expect(loginRefusal(error)).toMatchObject({ returnCode: 3 })
  })

  it('is counted only when it was looked at and wrong', async () => {
    const looked = vi.spyOn(identity, 'login')
    const away = { identity: { ...identity, login: () => Promise.reject(new Failure('unavailable', 'away')) }, guesses: open().guesses }
    for (let i = 0; i < 100; i++) expect(await codeFor(here, { username: 'key', password }, away)).toBe(3)
    expect(await codeFor(here, { username: 'key', password }, { ...away, identity })).toBe(KEY)
    looked.mockRestore()
  })

  it('is refused late after many that were wrong, unlooked at; from elsewhere and for others nothing changes', async () => {
    vi.useFakeTimers()
    try {
      const ports = open()
      const looked = vi.spyOn(identity, 'login')
      const settled: unknown[] = []
      const decided = vi.fn()
      const tries = Array.from({ length: 1000 }, () => () => codeFor(here, { username: 'key', password: 'wrong' }, ports, decided))
      for (const attempt of tries) {
        const answer = attempt()
        void answer.then(code => settled.push(code))
        await vi.advanceTimersByTimeAsync(0)
      }
      expect(looked).toHaveBeenCalledTimes(GUESS_LIMITS.perKey)
      expect(settled).toHaveLength(GUESS_LIMITS.perKey)
      // Who waits is in nobody's way.
      expect(decided).toHaveBeenCalledTimes(1000 - GUESS_LIMITS.perKey)
      await vi.advanceTimersByTimeAsync(1000)
      expect(settled).toEqual(new Array(1000).fill(5))
      const right = { username: 'key', password: SECRET }
      const blocked = codeFor(here, right, ports)
      await vi.advanceTimersByTimeAsync(1000)
      expect(await blocked).toBe(5)
      expect(await codeFor({ address: '10.0.0.2' }, right, ports)).toBe(KEY)
      expect(await codeFor(here, { username: 'dev1', password: SECRET }, ports)).toBe(OWN)
      looked.mockRestore()
    } finally {
      vi.useRealTimers()
    }
  })
})
