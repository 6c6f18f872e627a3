// Keeps a project within its budget before anything is accepted: an event of a new device, of a new type or with a new field is refused, by
// name, when there is no room for it. What is known already costs two look-ups.
import { Failure } from '../../../packages/core/failure.ts'
import type { Budgets, Held, Limits } from '../../../packages/state/budget.ts'
import type { Incoming } from '../decode/event.ts'

export type BudgetPorts = {
  readonly budgets: Pick<Budgets, 'held' | 'addNames' | 'registered'>
  /** Whether the device was registered by this process already. */
  isKnown(project: string, device: string): boolean
}

type Wanted = Pick<Incoming, 'project' | 'device' | 'eventType' | 'shape'>

/** `isNew`: it was asked whether it is registered, and it was not. */
type Fresh = { readonly sinceMs: number; isNew: boolean }

/** Of one project, as it was read last and with what was let in since. */
type Account = {
  readonly limits: Limits
  readonly devices: number
  /** Let in, and not among `devices` yet, as far as is known. */
  readonly fresh: Map<string, Fresh>
  readonly names: Set<string>
  fields: number
  readonly shapes: Set<string>
  readonly unsaved: Set<string>
  readonly readMs: number
  /** Looked at since it was read. */
  isUsed: boolean
}

/** Shapes that are known by heart; beyond it all are looked through again. */
const MAX_SHAPES = 10_000
const READ_EVERY_MS = 1000
const IDLE_MS = 60_000
/** What was let in and is not registered after that was not appended. */
const APPENDED_MS = 10_000
/** Questions to Redis that are on their way together. */
const AT_ONCE = 50

export class Budget {
  readonly #ports: BudgetPorts
  readonly #accounts = new Map<string, Account>()
  readonly #reading = new Map<string, Promise<Account>>()

  constructor(ports: BudgetPorts) {
    this.#ports = ports
  }

  /** Whether it is within the budget for certain; else `ask`. */
  admits(event: Wanted): boolean {
    const account = this.#accounts.get(event.project)
    if (!account) return false
    account.isUsed = true
    if (!this.#hasShape(account, event.shape)) return false
    return this.#takeDevice(account, event)
  }

  /** Looks again at what there is for events of one project. @returns of each why it is refused, or undefined when it is let in. */
  async ask(events: readonly Wanted[]): Promise<readonly (Failure | undefined)[]> {
    const [first] = events
    if (!first) return []
    const { project } = first
    const account = await this.#read(project)
    const refused = events.map(event => (this.#hasShape(account, event.shape) ? undefined : shapeRefusal(account, event)))
    const over = events.filter((event, index) => !refused[index] && !this.#takeDevice(account, event))
    if (over.length === 0) return refused
    const tooMany = await this.#tooMany(account, over)
    return refused.map((failure, index) => {
      const { device } = events[index] as Wanted
      return failure ?? (tooMany.has(device) ? refusal(project, account.limits, 'devices', `device ${device}`) : undefined)
    })
  }

  /** For whom there is no room. Who was let in may have been registered before this process began, and is among `devices` already. */
  async #tooMany(account: Account, over: readonly Wanted[]): Promise<ReadonlySet<string>> {
    const [{ project }] = over as [Wanted]
    const unsure = [...account.fresh].flatMap(([device, { isNew }]) => (isNew ? [] : [device]))
    const registered = await this.#ports.budgets.registered(project, [...new Set([...over.map(({ device }) => device), ...unsure])])
    const isCounted = unsure.some(device => registered.has(device))
    // Some may have been registered since it was read.
    const now = isCounted ? await this.#read(project, true) : (this.#accounts.get(project) ?? account)
    for (const device of unsure) {
      const one = now.fresh.get(device)
      if (registered.has(device)) now.fresh.delete(device)
      else if (one) one.isNew = true
    }
    return new Set(over.filter(one => !registered.has(one.device) && !this.#takeDevice(now, one)).map(({ device }) => device))
  }

  #hasShape(account: Account, shape: string): boolean {
    return account.shapes.has(shape) || this.#takeShape(account, shape)
  }

  /** What would become of these, all together; nothing is taken. */
  async preview(project: string, events: readonly Wanted[]): Promise<Preview> {
    const account = await this.#read(project, true)
    const { limits, names } = account
    const fresh = [...new Set(events.flatMap(({ shape }) => namesOf(shape)))].filter(name => !names.has(name))
    const types = fresh.filter(isType)
    const fields = fresh.filter(name => !isType(name)).map(name => name.replace('\n', '.'))
    const all = [...new Set(events.map(({ device }) => device))]
    const known = await this.#ports.budgets.registered(project, all)
    const devices = all.filter(id => !known.has(id))
    const usedTypes = names.size - account.fields
    return {
      devices: line(limits.devices, account.devices, devices),
      eventTypes: line(limits.eventTypes, usedTypes, types),
      fields: line(limits.fields, account.fields, fields),
    }
  }

  /** Writes the names that were let in. Called with each append; what fails is written with the next. */
  async save(project: string): Promise<void> {
    const account = this.#accounts.get(project)
    if (!account || account.unsaved.size === 0) return
    const names = [...account.unsaved]
    await this.#ports.budgets.addNames(project, names)
    for (const name of names) account.unsaved.delete(name)
  }

  /**
   * Reads again what is in use: others let in devices and names too, and limits are changed. Done every second. What nobody asked for since
   * it was read is let go of once all of it is written.
   */
  async refresh(): Promise<void> {
    const nowMs = performance.now()
    const due: string[] = []
    for (const [project, { readMs, isUsed, unsaved }] of this.#accounts) {
      if (isUsed && nowMs - readMs >= READ_EVERY_MS) due.push(project)
      else if (!isUsed && unsaved.size === 0 && nowMs - readMs >= IDLE_MS) this.#accounts.delete(project)
    }
    for (let i = 0; i < due.length; i += AT_ONCE) await Promise.all(due.slice(i, i + AT_ONCE).map(project => this.#read(project, true)))
  }

  /** Its limits were changed here. */
  async changed(project: string): Promise<void> {
    await this.#read(project, true)
  }

  #takeDevice({ limits, devices, fresh }: Account, { project, device }: Wanted): boolean {
    if (this.#ports.isKnown(project, device) || fresh.has(device)) return true
    if (devices + fresh.size >= limits.devices) return false
    fresh.set(device, { sinceMs: performance.now(), isNew: false })
    return true
  }

  #takeShape(account: Account, shape: string): boolean {
    const fresh = namesOf(shape).filter(name => !account.names.has(name))
    if (account.names.size - account.fields + fresh.filter(isType).length > account.limits.eventTypes && fresh.some(isType)) return false
    const fields = fresh.filter(name => !isType(name)).length
    if (fields > 0 && account.fields + fields > account.limits.fields) return false
    for (const name of fresh) {
      account.names.add(name)
      account.unsaved.add(name)
    }
    account.fields += fields
    if (account.shapes.size >= MAX_SHAPES) account.shapes.clear()
    account.shapes.add(shape)
    return true
  }

  /** One at a time of a project; not again within a moment, so that who is refused a thousand times asks Redis a few times. */
  #read(project: string, isDue = false): Promise<Account> {
    const known = this.#accounts.get(project)
    if (known && !isDue && performance.now() - known.readMs < READ_EVERY_MS / 10) return Promise.resolve(known)
    const under = this.#reading.get(project)
    if (under) return under
    const reading = this.#ports.budgets
      .held(project, known && known.names.size - known.unsaved.size)
      .then(held => this.#adopt(project, held))
      .finally(() => this.#reading.delete(project))
    this.#reading.set(project, reading)
    return reading
  }

  #adopt(project: string, { limits, devices, names }: Held): Account {
    const before = this.#accounts.get(project)
    const unsaved = before?.unsaved ?? new Set<string>()
    const all = names === undefined && before ? before.names : new Set([...(names ?? []), ...unsaved])
    const nowMs = performance.now()
    const isAwaited = (device: string, { sinceMs }: Fresh) => nowMs - sinceMs < APPENDED_MS && !this.#ports.isKnown(project, device)
    const fresh = new Map([...(before?.fresh ?? [])].filter(([device, one]) => isAwaited(device, one)))
    const fields = before && before.names === all ? before.fields : [...all].filter(name => !isType(name)).length
    const shapes = before?.names === all ? before.shapes : new Set<string>()
    const account = { limits, devices, fresh, names: all, fields, shapes, unsaved, readMs: nowMs, isUsed: false }
    this.#accounts.set(project, account)
    return account
  }
}

export type PreviewLine = { readonly limit: number; readonly used: number; readonly new: string[]; readonly fits: boolean }
export type Preview = { readonly devices: PreviewLine; readonly eventTypes: PreviewLine; readonly fields: PreviewLine }

function line(limit: number, used: number, fresh: string[]): PreviewLine {
  return { limit, used, new: fresh, fits: fresh.length === 0 || used + fresh.length <= limit }
}

/** `temperature\nvalue` → `temperature` and `temperature\nvalue`. */
function namesOf(shape: string): string[] {
  const [eventType = '', ...fields] = shape.split('\n')
  return [eventType, ...fields.map(field => `${eventType}\n${field}`)]
}

function isType(name: string): boolean {
  return !name.includes('\n')
}

function shapeRefusal(account: Account, { project, eventType, shape }: Wanted): Failure {
  if (!account.names.has(eventType) && account.names.size - account.fields >= account.limits.eventTypes)
    return refusal(project, account.limits, 'eventTypes', `eventType ${eventType}`)
  const [name = ''] = namesOf(shape).filter(one => !isType(one) && !account.names.has(one))
  return refusal(project, account.limits, 'fields', `data.${name.replace('\n', '.')}`)
}

const KINDS = { devices: 'devices', eventTypes: 'event types', fields: 'fields' } as const

function refusal(project: string, limits: Limits, kind: keyof typeof KINDS, what: string): Failure {
  const [field = ''] = what.split(' ', 1)
  const held = `it would be a new one, and project ${project} has the ${limits[kind]} ${KINDS[kind]} that its budget allows (${kind})`
  return new Failure('quota_exceeded', `${what}: ${held}`, { field })
}
