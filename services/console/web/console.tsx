// The signed-in page: header, alarms, devices, and the chart of the chosen device.
import { useCallback, useEffect, useMemo, useReducer, useRef, useState } from 'preact/hooks'
import { AlarmList } from './alarm-list.tsx'
import { type Session, signOut } from './api.ts'
import { ChartPanel } from './chart.tsx'
import { DeviceTable, focusDevice } from './device-table.tsx'
import { Feed } from './feed.ts'
import { FirstEvent } from './first-event.tsx'
import { formatAge, formatNumber } from './format.ts'
import { later } from './later.tsx'
import { hashOf, parseRoute, type Route } from './route.ts'
import { StreamsPart } from './streams-part.tsx'
import { ThemeButton } from './theme.tsx'

const TICK_MS = 1000

const AlarmsPart = later(async () => (await import('./alarms-part.tsx')).AlarmsPart)
const RulesPart = later(async () => (await import('./rules-part.tsx')).RulesPart)

type Props = {
  readonly session: Session
  readonly project: string
  readonly onProject: (project: string) => void
  readonly onSignedOut: (notice: string) => void
}

/** Where the chart of a device may be opened. */
const CHARTED: readonly string[] = ['devices', 'alarms']

export function Console({ session, project, onProject, onSignedOut }: Props) {
  const feed = useFeed(project, onSignedOut)
  const route = useRoute()
  const [chosen, setChosen] = useState<string>()
  const [themeVersion, themeChanged] = useReducer<number, void>(n => n + 1, 0)
  const opener = useRef<Element | null>(null)
  const close = useCallback(() => {
    setChosen(undefined)
    const back = opener.current
    if (chosen !== undefined && !(back instanceof HTMLButtonElement && back.isConnected)) focusDevice(chosen)
    else if (back instanceof HTMLButtonElement) back.focus()
  }, [chosen])
  if (!feed) return null
  const open = (id: string) => {
    opener.current = document.activeElement
    void feed.roster.look(id).then(found => {
      if (found) setChosen(id)
    })
  }
  const now = feed.now()
  const row = chosen === undefined || !CHARTED.includes(route.part) ? undefined : feed.fleet.row(chosen)
  const active = [...feed.alarms.values()].filter(alarm => alarm.state === 'active').length
  const nameOf = (device: string) => feed.fleet.row(device)?.name ?? device
  return (
    <div class={row ? 'console with-chart' : 'console'}>
      <Title active={active} />
      <Header
        feed={feed}
        route={route}
        session={session}
        project={project}
        onProject={onProject}
        onSignedOut={onSignedOut}
        onTheme={themeChanged}
      />
      <p class="spoken" aria-live="polite">
        {feed.spoken}
      </p>
      <main>
        {feed.problem !== '' && (
          <p role="alert" class="problem">
            Could not load everything: {feed.problem}
          </p>
        )}
        {(route.part === 'alarms' || route.part === 'silences') && (
          <AlarmsPart
            feed={feed}
            alarm={route.part === 'alarms' ? route.alarm : undefined}
            silences={route.part === 'silences'}
            account={session.account}
            now={now}
            nameOf={nameOf}
            onOpen={open}
          />
        )}
        {route.part === 'rules' && <RulesPart feed={feed} rule={route.rule} copyOf={route.copyOf} now={now} themeVersion={themeVersion} />}
        {route.part === 'streams' && <StreamsPart feed={feed} project={project} keyId={session.keyId} stream={route.stream} now={now} />}
        {route.part === 'devices' && <AlarmList feed={feed} now={now} nameOf={nameOf} onOpen={open} />}
        {route.part === 'devices' &&
          (feed.roster.loaded && feed.fleet.size === 0 ? (
            <FirstEvent project={project} keyId={session.keyId} />
          ) : (
            <DeviceTable roster={feed.roster} now={now} chosen={chosen} onOpen={open} />
          ))}
      </main>
      {row && <ChartPanel key={row.id} feed={feed} row={row} now={now} themeVersion={themeVersion} onClose={close} />}
    </div>
  )
}

function useRoute(): Route {
  const [route, setRoute] = useState(() => parseRoute(location.hash))
  useEffect(() => {
    const changed = () => setRoute(parseRoute(location.hash))
    addEventListener('hashchange', changed)
    return () => removeEventListener('hashchange', changed)
  }, [])
  return route
}

/** The feed of a project for as long as the page shows it; redraws when it changes and every second for the ages. */
function useFeed(project: string, onSignedOut: Props['onSignedOut']): Feed | undefined {
  const [, redraw] = useReducer<number, void>(n => n + 1, 0)
  const feed = useRef<Feed | undefined>(undefined)
  useEffect(() => {
    const opened = new Feed({
      project,
      onChange: redraw,
      onSignedOut: () => onSignedOut('Your session has ended. Sign in again.'),
    })
    feed.current = opened
    redraw()
    const tick = setInterval(redraw, TICK_MS)
    return () => {
      clearInterval(tick)
      opened.close()
    }
  }, [project, onSignedOut])
  return feed.current
}

/** A tab in the background still says how many alarms there were. */
function Title({ active }: { active: number }) {
  useEffect(() => {
    document.title = active === 0 ? 'Telltale' : `(${active}) Telltale`
  }, [active])
  return null
}

type HeaderProps = Props & { readonly feed: Feed; readonly route: Route; readonly onTheme: () => void }

function Header({ feed, route, session, project, onProject, onSignedOut, onTheme }: HeaderProps) {
  const [problem, setProblem] = useState('')
  const leave = () => {
    signOut().then(
      () => onSignedOut('You are signed out.'),
      (error: Error) => setProblem(`Not signed out: ${error.message}`),
    )
  }
  return (
    <header>
      <h1>Telltale</h1>
      <Parts route={route} />
      <Connection feed={feed} />
      <span class="rate" title="Events per second, over the last five seconds">
        <span data-rate>{formatNumber(Math.round(feed.rate() * 10) / 10)}</span> events/s
      </span>
      <span class="grow" />
      <ProjectChoice session={session} project={project} onProject={onProject} />
      <ThemeButton onChange={onTheme} />
      <button type="button" class="plain" onClick={leave} title={`Signed in with key ${session.keyId}`}>
        Sign out
      </button>
      {problem !== '' && (
        <span role="alert" class="problem">
          {problem}
        </span>
      )}
    </header>
  )
}

const PARTS = [
  ['devices', 'Devices'],
  ['alarms', 'Alarms'],
  ['rules', 'Rules'],
  ['streams', 'Streams'],
] as const

function Parts({ route }: { readonly route: Route }) {
  return (
    <nav aria-label="Parts of the console">
      {PARTS.map(([part, text]) => (
        <a
          key={part}
          href={hashOf({ part })}
          aria-current={(route.part === 'silences' ? 'alarms' : route.part) === part ? 'page' : undefined}
        >
          {text}
        </a>
      ))}
    </nav>
  )
}

const WORDS = { live: 'Live', reconnecting: 'Reconnecting', offline: 'Offline' } as const

// The seconds stand outside role="status": a screen reader should hear the change, not every second of it.
function Connection({ feed }: { feed: Feed }) {
  const { state, silentMs, everLive } = feed.link()
  const word = state === 'reconnecting' && !everLive ? 'Connecting' : WORDS[state]
  return (
    <span class="connection" data-connection={state}>
      <span class="dot" aria-hidden="true" />
      <span role="status" data-connection={state}>
        {word}
      </span>
      {state !== 'live' && everLive && <span class="quiet">, last data {formatAge(silentMs)} ago</span>}
    </span>
  )
}

function ProjectChoice({ session, project, onProject }: Pick<Props, 'session' | 'project' | 'onProject'>) {
  const projects = useMemo(() => [...new Set([project, ...session.projects])].sort(), [project, session.projects])
  if (projects.length === 1) return <span class="project">{project}</span>
  return (
    <label class="project">
      <span class="spoken">Project</span>
      <select value={project} onChange={event => onProject(event.currentTarget.value)}>
        {projects.map(name => (
          <option key={name} value={name}>
            {name}
          </option>
        ))}
      </select>
    </label>
  )
}
