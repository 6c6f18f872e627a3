// Light, dark, or as the system says; the choice is remembered in this browser.
import { useState } from 'preact/hooks'

export type Theme = 'auto' | 'light' | 'dark'

const NEXT: Readonly<Record<Theme, Theme>> = { auto: 'dark', dark: 'light', light: 'auto' }
const KEY = 'telltale.theme'

export function readTheme(): Theme {
  const stored = storage()?.getItem(KEY)
  return stored === 'light' || stored === 'dark' ? stored : 'auto'
}

export function applyTheme(theme: Theme): void {
  if (theme === 'auto') delete document.documentElement.dataset.theme
  else document.documentElement.dataset.theme = theme
}

export function ThemeButton({ onChange }: { onChange: () => void }) {
  const [theme, setTheme] = useState(readTheme)
  const change = () => {
    const next = NEXT[theme]
    storage()?.setItem(KEY, next)
    applyTheme(next)
    setTheme(next)
    onChange()
  }
  return (
    <button type="button" class="plain" onClick={change} title="Change between automatic, dark and light colours">
      Theme: {theme}
    </button>
  )
}

// Browsers that block site data throw on the mere property; the page then works without remembering.
function storage(): Storage | undefined {
  try {
    return window.localStorage
  } catch {
    return undefined
  }
}
