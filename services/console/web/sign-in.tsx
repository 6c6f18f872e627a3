// The sign-in form: a service account's key id and secret become an HttpOnly cookie.
import { useEffect, useRef, useState } from 'preact/hooks'
import { type Session, signIn } from './api.ts'

export function SignIn({ notice, onSignedIn }: { notice: string; onSignedIn: (session: Session) => void }) {
  const [problem, setProblem] = useState('')
  const [busy, setBusy] = useState(false)
  const first = useRef<HTMLInputElement>(null)
  useEffect(() => first.current?.focus(), [])

  const submit = (event: SubmitEvent) => {
    event.preventDefault()
    const form = new FormData(event.currentTarget as HTMLFormElement)
    setBusy(true)
    setProblem('')
    signIn(entered(form, 'keyId'), entered(form, 'secret')).then(onSignedIn, (error: Error) => {
      setProblem(error.message)
      setBusy(false)
      first.current?.focus()
    })
  }

  return (
    <main class="sign-in">
      <h1>Telltale</h1>
      {notice !== '' && <p role="status">{notice}</p>}
      <form onSubmit={submit} aria-label="Sign in">
        <label for="key-id">Key id</label>
        <input id="key-id" name="keyId" ref={first} required autocomplete="username" spellcheck={false} autocapitalize="off" />
        <label for="secret">Secret</label>
        <input id="secret" name="secret" type="password" required autocomplete="current-password" />
        <p role="alert" class="problem">
          {problem !== '' && `Not signed in: ${problem}`}
        </p>
        <button type="submit" class="primary" disabled={busy}>
          {busy ? 'Signing in…' : 'Sign in'}
        </button>
      </form>
      <p class="quiet">The first start of Telltale printed a key id and a secret.</p>
    </main>
  )
}

function entered(form: FormData, name: string): string {
  const value = form.get(name)
  return typeof value === 'string' ? value.trim() : ''
}
