// A part of the page whose code is fetched when it is first shown: who looks at devices does not wait for the editor of rules.
import { type ComponentType, createElement } from 'preact'
import { useEffect, useState } from 'preact/hooks'

type Stage<P> = { readonly part?: ComponentType<P>; readonly problem?: string }

export function later<P extends object>(load: () => Promise<ComponentType<P>>): ComponentType<P> {
  return function Later(props: P) {
    const [stage, setStage] = useState<Stage<P>>({})
    const ask = () => {
      setStage({})
      load().then(
        part => setStage({ part }),
        (error: Error) => setStage({ problem: error.message }),
      )
    }
    useEffect(ask, [])
    if (stage.part) return createElement(stage.part, props)
    if (stage.problem === undefined) return <p class="quiet">Loading…</p>
    return (
      <p role="alert" class="problem">
        This part of the page could not be loaded: {stage.problem}{' '}
        <button type="button" onClick={ask}>
          Try again
        </button>
      </p>
    )
  }
}
