// The worker role on a thread of its own: one process uses both cores, and the thread that accepts never waits for the one that stores.
import { isMainThread, MessageChannel, type MessagePort, Worker, workerData } from 'node:worker_threads'
import { Lifecycle } from '../packages/runtime/lifecycle.ts'
import { type Logger, openLogger } from '../packages/runtime/logger.ts'
import { remote, serve } from '../packages/runtime/rpc.ts'
import type { ReadingStore } from '../packages/store/store.ts'
import { openWorker, type WorkerPart, type WorkerSettings } from './part.ts'

type Control = {
  /** Resolves when the role has started; rejects with the Failure that says why it could not. */
  start(): Promise<void>
  metrics(): Promise<string>
  stop(): Promise<void>
}

type Start = { readonly settings: WorkerSettings; readonly storePort: MessagePort; readonly controlPort: MessagePort }

const STORE_METHODS = ['write', 'past', 'events', 'readings', 'windows', 'counts', 'scan', 'purge', 'ping', 'close'] as const
const CONTROL_METHODS = ['start', 'metrics', 'stop'] as const
const PART_STOP_MS = 5000

/** Starts the role on a new thread; its store answers here too. A thread that dies takes the process with it, to be started anew. */
export async function startWorkerThread(settings: WorkerSettings, logger: Logger, lifecycle: Lifecycle): Promise<WorkerPart> {
  const stores = new MessageChannel()
  const controls = new MessageChannel()
  const start: Start = { settings, storePort: stores.port2, controlPort: controls.port2 }
  const thread = new Worker(new URL(import.meta.url), { workerData: start, transferList: [stores.port2, controls.port2] })
  const control = remote<Control>(controls.port1, CONTROL_METHODS)
  let stopping = false
  thread.on('error', error => {
    logger.fatal({ err: error }, 'worker thread died')
    process.exit(70)
  })
  lifecycle.started('worker thread', async () => {
    stopping = true
    await control.stop()
    await thread.terminate()
  })
  thread.once('exit', code => {
    if (!stopping) logger.fatal({ code }, 'worker thread ended')
  })
  await control.start()
  return { store: remote<ReadingStore>(stores.port1, STORE_METHODS), metrics: [() => control.metrics()] }
}

function run({ settings, storePort, controlPort }: Start): void {
  const logger = openLogger(settings.config.logLevel)
  const lifecycle = new Lifecycle(logger)
  let read: readonly (() => Promise<string>)[] = []
  serve<Control>(controlPort, {
    async start() {
      const part = await openWorker(settings, logger, lifecycle)
      read = part.metrics
      serve<ReadingStore>(storePort, part.store)
    },
    async metrics() {
      return (await Promise.all(read.map(one => one()))).join('\n')
    },
    stop: () => lifecycle.stop(PART_STOP_MS),
  })
}

if (!isMainThread) run(workerData as Start)
