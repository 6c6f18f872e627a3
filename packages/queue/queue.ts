// BullMQ: the wake-up jobs that drive the consumers, the once-a-second sweep, and deliveries. A job never carries a reading.
import { DelayedError, type Job, Queue, UnrecoverableError, Worker } from 'bullmq'
import type { Redis } from 'ioredis'
import { hash } from '../core/id.ts'
import type { Logger } from '../runtime/logger.ts'

export type QueuePorts = {
  /** A connection that waits while Redis is away; shared, and duplicated for blocking reads. */
  readonly redis: Redis
  readonly log: Logger
}

/** A killed worker's job is picked up within 2 to 3 s; the check must be as frequent on all workers. */
const WORKER_OPTIONS = { lockDuration: 2000, stalledInterval: 1000, maxStalledCount: 1_000_000, concurrency: 1 } as const
const DONE_AGE_SECONDS = 3600
const BROKEN_RETRY_MS = 5000
const MAX_PACED = 100_000

/** The partition whose workers drain a project. */
export function partitionOf(project: string, partitions: number): number {
  return hash(project)[0] % partitions
}

/** BullMQ's keys of one queue share a Cluster slot. */
function prefixOf(name: string): string {
  return `{t-${name}}`
}

function openQueue(ports: QueuePorts, name: string): Queue {
  const queue = new Queue(name, { connection: ports.redis, prefix: prefixOf(name) })
  queue.on('error', error => ports.log.debug({ queue: name, reason: error.message }, 'queue error'))
  return queue
}

export function drainQueueName(consumer: string, partition: number): string {
  return `${consumer}-${partition}`
}

/** Adds wake-ups: a job that means «drain this project's log from your place». */
export class Wakes {
  readonly #queues = new Map<string, Queue>()
  readonly #paceMs: Readonly<Record<string, number>>
  readonly #partitions: number
  readonly #log: Logger
  readonly #wokenMs = new Map<string, number>()

  /**
   * @param paceMs consumer → least time between two wake-ups of one project: the first comes at once, under load each drain finds
   * a batch that is worth its transaction.
   */
  constructor(ports: QueuePorts, paceMs: Readonly<Record<string, number>>, partitions: number) {
    this.#paceMs = paceMs
    this.#partitions = partitions
    this.#log = ports.log
    for (const consumer of Object.keys(paceMs))
      for (let i = 0; i < partitions; i++) this.#queues.set(drainQueueName(consumer, i), openQueue(ports, drainQueueName(consumer, i)))
  }

  /** One project's log is drained by one worker at a time, in every process. */
  async prepare(): Promise<void> {
    for (const queue of this.#queues.values()) await queue.setGlobalConcurrency(1)
  }

  /** A wake that cannot be added is made up for by the next append or the sweep, so it is noted and not retried here. */
  wake(project: string, consumer: string): void {
    const key = `${consumer}\t${project}`
    const nowMs = performance.now()
    const dueMs = Math.max(nowMs, (this.#wokenMs.get(key) ?? 0) + (this.#paceMs[consumer] ?? 0))
    if (this.#wokenMs.size > MAX_PACED) this.#wokenMs.clear()
    this.#wokenMs.set(key, dueMs)
    this.#add(project, consumer, Math.ceil(dueMs - nowMs))
  }

  /** There is more to do: to the back of the line, without a pause. */
  again(project: string, consumer: string): void {
    this.#add(project, consumer, 0)
  }

  #add(project: string, consumer: string, delayMs: number): void {
    const queue = this.#queues.get(drainQueueName(consumer, partitionOf(project, this.#partitions)))
    const options = { removeOnComplete: true, removeOnFail: true, ...(delayMs > 0 ? { delay: delayMs } : {}) }
    queue
      ?.add('drain', { project }, options)
      .catch((error: Error) => this.#log.warn({ project, consumer, reason: error.message }, 'wake not queued'))
  }

  async close(): Promise<void> {
    await Promise.all([...this.#queues.values()].map(queue => queue.close()))
  }
}

export type Running = { stop(): Promise<void> }

/** Works on one drain queue until stopped; `drain` is never run twice at once for one queue, in any process. */
export function startDrains(ports: QueuePorts, name: string, drain: (project: string) => Promise<void>): Running {
  const options = { ...WORKER_OPTIONS, connection: ports.redis, prefix: prefixOf(name) }
  const worker = new Worker<{ project: string }>(name, job => drain(job.data.project), options)
  worker.on('error', error => ports.log.debug({ queue: name, reason: error.message }, 'queue worker error'))
  // The place stands where it was; the sweep or the next append wakes the consumer again.
  worker.on('failed', (_job, error) => ports.log.warn({ queue: name, reason: error.message }, 'drain failed'))
  return { stop: () => worker.close() }
}

/** Runs `sweep` about once a second in one process of all. */
export async function startSweep(ports: QueuePorts, everyMs: number, sweep: () => Promise<void>): Promise<Running> {
  const queue = openQueue(ports, 'sweep')
  await queue.setGlobalConcurrency(1)
  const options = { removeOnComplete: true, removeOnFail: true }
  await queue.upsertJobScheduler('sweep', { every: everyMs }, { name: 'sweep', opts: options })
  const worker = new Worker('sweep', sweep, { ...WORKER_OPTIONS, connection: ports.redis, prefix: prefixOf('sweep') })
  worker.on('error', error => ports.log.debug({ queue: 'sweep', reason: error.message }, 'queue worker error'))
  worker.on('failed', (_job, error) => ports.log.warn({ reason: error.message }, 'sweep failed'))
  return {
    stop: async () => {
      await worker.close()
      await queue.close()
    },
  }
}

/** What became of a delivery attempt that did not succeed. */
export type DeliveryVerdict = { readonly retry: true; readonly afterMs?: number } | { readonly retry: false; readonly reason: string }

export type DeliveryJob = { readonly project: string; readonly delivery: string }

/** Deliveries: one job each, under a deterministic id, so that adding it again changes nothing. */
export class Deliveries {
  readonly #queue: Queue<DeliveryJob>
  readonly #ports: QueuePorts

  constructor(ports: QueuePorts) {
    this.#queue = openQueue(ports, 'deliver')
    this.#ports = ports
  }

  async add(jobs: readonly { readonly id: string; readonly data: DeliveryJob }[]): Promise<void> {
    const keep = { removeOnComplete: { age: DONE_AGE_SECONDS }, removeOnFail: { age: DONE_AGE_SECONDS } }
    await this.#queue.addBulk(jobs.map(({ id, data }) => ({ name: 'deliver', data, opts: { jobId: id, ...keep } })))
  }

  /** Attempts a delayed delivery now; nothing happens to one that is not delayed. */
  async hasten(id: string): Promise<void> {
    const job = await this.#queue.getJob(id)
    if (!job || !(await job.isDelayed())) return
    await job.promote().catch(async (error: unknown) => {
      // Its time may come between the question and the order.
      if (await job.isDelayed()) throw error
    })
  }

  /**
   * Attempts deliveries, several at once. `attempt` resolves with undefined when the receiver has it, and with what to do
   * otherwise: waiting is done by a delayed job, so that a dead receiver holds no worker.
   */
  start(attempt: (job: DeliveryJob) => Promise<DeliveryVerdict | undefined>, concurrency: number): Running {
    const options = { ...WORKER_OPTIONS, concurrency, connection: this.#ports.redis, prefix: prefixOf('deliver') }
    const worker = new Worker<DeliveryJob>('deliver', (job, token) => run(job, token, attempt, this.#ports.log), options)
    worker.on('error', error => this.#ports.log.debug({ queue: 'deliver', reason: error.message }, 'queue worker error'))
    return { stop: () => worker.close() }
  }

  async close(): Promise<void> {
    await this.#queue.close()
  }
}

async function run(
  job: Job<DeliveryJob>,
  token: string | undefined,
  attempt: (job: DeliveryJob) => Promise<DeliveryVerdict | undefined>,
  log: Logger,
): Promise<void> {
  const verdict = await attempt(job.data).catch((error: unknown): DeliveryVerdict => {
    // A delivery is given up by its verdict only: a job that failed would leave it open, and those behind it waiting for ever.
    log.error({ err: error, delivery: job.data.delivery }, 'delivery could not be attempted')
    return { retry: true, afterMs: BROKEN_RETRY_MS }
  })
  if (verdict === undefined) return
  if (!verdict.retry) throw new UnrecoverableError(verdict.reason)
  await job.moveToDelayed(Date.now() + (verdict.afterMs ?? 1000), token)
  throw new DelayedError()
}
