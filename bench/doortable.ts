// The doors in figures, as tables that can stand in a document as they are.
import type { DoorReport, Way } from './door.ts'
import type { Rate } from './side.ts'
import type { Idle, Storm } from './storm.ts'
import { type Report, whole } from './table.ts'

export function renderDoors({ cpu, cores, node }: Report['machine'], report: DoorReport): string {
  const { ingest, broker, http, idle, storms, othersCores } = report
  return [
    `${cpu}, ${cores} cores, Node ${node}; server, Redis, load and peer share them.`,
    ...table('events in, on disk', 'mosquitto, in memory', ingest),
    ...table('ordinary topics', 'mosquitto', broker),
    ...table('over HTTP', 'InfluxDB 1', http),
    ...connections(idle),
    ...stormTable(storms),
    '',
    othersCores > 0.1
      ? `Other programs used ${othersCores.toFixed(1)} cores meanwhile: measure again on a quiet machine.`
      : 'Nothing else used the machine meanwhile.',
  ].join('\n')
}

function table(title: string, peer: string, ways: readonly Way[]): string[] {
  if (ways.length === 0) return []
  const head = [
    title,
    'a second',
    'a CPU second',
    'µs each; of the first thread',
    'p50 / p99 ms',
    `${peer}: a second`,
    'a CPU second',
    'p50 / p99 ms',
  ]
  return markdown([...head, 'ratio, a CPU second'], ways.map(row))
}

function row({ name, ours, peer }: Way): string[] {
  if (typeof ours === 'string') return [name, `not here: ${ours}`]
  const theirs = peer ? [whole(peer.perSecond), whole(peer.perCpuSecond), times(peer)] : ['', '', '']
  const ratio = peer ? ratioOf(ours.perCpuSecond / peer.perCpuSecond) : ''
  return [`${name}${share(ours)}`, whole(ours.perSecond), whole(ours.perCpuSecond), programs(ours), times(ours), ...theirs, ratio]
}

/** Said only when something was dropped. */
function share({ share: part }: Rate): string {
  return part > 0.9999 ? '' : ` (${(part * 100).toFixed(1)} % of what was sent)`
}

function ratioOf(value: number): string {
  return `${value.toFixed(value < 10 ? 2 : 0)}×`
}

function times({ latency: { count, p50Ms, p99Ms } }: Rate): string {
  return count === 0 ? '' : `${p50Ms.toFixed(1)} / ${p99Ms.toFixed(1)}`
}

function programs({ cpuUs, doorUs }: Rate): string {
  const by = Object.entries(cpuUs)
    .filter(([, us]) => us >= 0.05)
    .map(([name, us]) => `${name} ${us.toFixed(us < 10 ? 1 : 0)}`)
    .join(', ')
  return `${by}; ${doorUs.toFixed(doorUs < 10 ? 1 : 0)}`
}

function connections(idle: readonly Idle[]): string[] {
  if (idle.length === 0) return []
  const rows = idle.map(({ server, clients, perSecond, kbEach }) => [server, whole(clients), whole(perSecond), kbEach.toFixed(1)])
  return markdown(['idle connections', 'clients', 'connected a second', 'kB each'], rows)
}

function stormTable(storms: readonly Storm[]): string[] {
  if (storms.length === 0) return []
  const rows = storms.map(({ server, clients, seconds, lost, again, lagMs, rssMb: { before, after } }) => [
    server,
    whole(clients),
    seconds.map(one => one.toFixed(1)).join(', '),
    whole(lost),
    whole(again),
    whole(lagMs),
    `${whole(before)} → ${whole(after)}`,
  ])
  const head = [
    'all gone and back at once, sessions kept',
    'clients',
    'all back after s',
    'sessions lost',
    'tried again',
    'longest stop ms',
  ]
  return markdown([...head, 'MB before → a minute after'], rows)
}

function markdown(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]) => `| ${head.map((_, i) => cells[i] ?? '').join(' | ')} |`
  return ['', line(head), line(head.map(() => '---')), ...rows.map(line)]
}
