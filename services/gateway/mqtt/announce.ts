// Alarms stand retained under `projects/{project}/alarms/{rule}/{device}`: all that there are, then each change, in every project,
// those included that are made while this runs. Every gateway does so; the entry of the log that says something is its order (inorder.ts).
import type { Redis } from 'ioredis'
import type { LogEntry } from '../../../packages/log/entry.ts'
import { type Follow, Followers } from '../../../packages/log/follow.ts'
import type { Log } from '../../../packages/log/log.ts'
import type { Logger } from '../../../packages/runtime/logger.ts'
import type { AlarmDocument, AlarmPage, Alarms } from '../../../packages/state/alarm.ts'
import type { Projects } from '../../../packages/state/project.ts'
import { orderOf } from '../broker/inorder.ts'

export type AnnouncePorts = {
  readonly log: Log
  readonly projects: Projects
  readonly alarms: Alarms
  readonly logger: Logger
  /** A connection for reading that may block. */
  connect(name: string): Promise<Redis>
  /** Publishes retained, unless something of a higher order was said there. */
  announce(topic: string, payload: string, order: string): Promise<void>
}

const LOOK_MS = 1000
const PAGE = 1000
const MAX_READS = 5
/** Projects whose alarms are announced at the same time. */
const AT_ONCE = 8

/** Begins with the projects that there are, and goes on while others do their work: nobody waits for it. */
export function startAnnouncements(ports: AnnouncePorts): { stop(): Promise<void> } {
  const followed = new Map<string, Follow>()
  const beginning = new Map<string, Promise<void>>()
  const { log, logger } = ports
  const followers = new Followers({
    log,
    connect: () => ports.connect('alarms'),
    troubled: (error, project) => logger.warn({ project, reason: error.message }, 'alarms not followed'),
  })
  const unreadable = new Set<string>()
  let isStopped = false
  let waiting: string[] = []
  /** Each by itself: one project that cannot be read keeps neither the others nor the gateway waiting. */
  const begin = async (project: string) => {
    const announce: AnnouncePorts['announce'] = async (...what) => {
      if (isStopped && beginning.has(project)) throw new Error('stopped')
      await ports.announce(...what)
    }
    try {
      followed.set(project, await announceIn({ ...ports, announce }, followers, project))
      unreadable.delete(project)
    } catch (error) {
      if (isStopped) return
      if (!unreadable.has(project)) logger.warn({ project, reason: (error as Error).message }, 'alarms of a project not announced')
      unreadable.add(project)
    }
  }
  const fill = () => {
    while (!isStopped && beginning.size < AT_ONCE && waiting.length > 0) {
      const project = waiting.shift() as string
      const ended = begin(project).finally(() => {
        beginning.delete(project)
        fill()
      })
      beginning.set(project, ended)
    }
  }
  const look = async () => {
    const projects = new Set(await ports.projects.list())
    waiting = [...projects].filter(project => !followed.has(project) && !beginning.has(project))
    fill()
    for (const project of unreadable) if (!projects.has(project)) unreadable.delete(project)
    for (const [project, gone] of followed)
      if (!projects.has(project)) {
        followed.delete(project)
        await gone.stop()
      }
  }
  let looking: Promise<void> | undefined
  const lookOnce = () => {
    // Redis may be away for a while; the next look does what this one could not.
    looking ??= look()
      .catch((error: Error) => ports.logger.debug({ reason: error.message }, 'projects not listed'))
      .finally(() => {
        looking = undefined
      })
  }
  const timer = setInterval(lookOnce, LOOK_MS)
  lookOnce()
  return {
    stop: async () => {
      isStopped = true
      clearInterval(timer)
      await looking
      await Promise.all(beginning.values())
      await Promise.all([...followed.values()].map(one => one.stop()))
    },
  }
}

async function announceIn(ports: AnnouncePorts, followers: Followers, project: string): Promise<Follow> {
  const announce = (alarm: AlarmDocument, entryId: string) =>
    ports.announce(`projects/${project}/alarms/${alarm.rule}/${alarm.device}`, JSON.stringify(alarm), orderOf(entryId))
  const from = await ports.log.last(project, 'alarmlog')
  const announceAll = async () => {
    for (let after = ''; ; ) {
      const { page, at } = await steadyPage(ports, project, after)
      for (const alarm of page.alarms) await announce(alarm, at)
      after = page.next
      if (after === '') return
    }
  }
  await announceAll()
  const follower = {
    arrived: async (entries: readonly LogEntry[]) => {
      for (const { id, events } of entries) for (const { frame } of events) await announce(JSON.parse(frame) as AlarmDocument, id)
    },
    jumped: announceAll,
  }
  return followers.follow(project, 'alarmlog', follower, from)
}

/**
 * Alarms as they are after an entry of their log. Where they change all the time it is an entry that they may be ahead of: what they have come to
 * is still to arrive, and is said again.
 */
async function steadyPage({ log, alarms }: AnnouncePorts, project: string, after: string): Promise<{ page: AlarmPage; at: string }> {
  let at = await log.last(project, 'alarmlog')
  for (let reads = 1; ; reads++) {
    const page = await alarms.list(project, {}, after, PAGE)
    const now = await log.last(project, 'alarmlog')
    if (now === at || reads === MAX_READS) return { page, at }
    at = now
  }
}
