// The console page: signed in or not, and which project. Everything else is below `Console`.
import 'uplot/dist/uPlot.min.css'
import { render } from 'preact'
import { useCallback, useEffect, useState } from 'preact/hooks'
import { readSession, type Session } from './api.ts'
import { Console } from './console.tsx'
import { SignIn } from './sign-in.tsx'
import { applyTheme, readTheme } from './theme.tsx'

type Stage =
  | { readonly name: 'starting' }
  | { readonly name: 'unreachable'; readonly problem: string }
  | { readonly name: 'signed-out'; readonly notice: string }
  | { readonly name: 'signed-in'; readonly session: Session }

function App() {
  const [stage, setStage] = useState<Stage>({ name: 'starting' })
  const [project, setProject] = useState<string>()
  const start = useCallback(() => {
    readSession().then(
      session => setStage(session ? { name: 'signed-in', session } : { name: 'signed-out', notice: '' }),
      (error: Error) => setStage({ name: 'unreachable', problem: error.message }),
    )
  }, [])
  const signedOut = useCallback((notice: string) => setStage({ name: 'signed-out', notice }), [])
  useEffect(start, [start])

  if (stage.name === 'starting') return <p class="centre quiet">Loading…</p>
  if (stage.name === 'unreachable') return <Unreachable problem={stage.problem} onRetry={start} />
  if (stage.name === 'signed-out') return <SignIn notice={stage.notice} onSignedIn={session => setStage({ name: 'signed-in', session })} />
  const shown = project !== undefined && stage.session.projects.includes(project) ? project : stage.session.project
  return <Console key={shown} session={stage.session} project={shown} onProject={setProject} onSignedOut={signedOut} />
}

function Unreachable({ problem, onRetry }: { problem: string; onRetry: () => void }) {
  return (
    <main class="centre">
      <p role="alert">Telltale did not answer: {problem}.</p>
      <button type="button" class="primary" onClick={onRetry}>
        Try again
      </button>
    </main>
  )
}

applyTheme(readTheme())
const page = document.getElementById('page')
if (page) render(<App />, page)
