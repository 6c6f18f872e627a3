// The devices: sortable, filtered, at most a few hundred rows in the page, one Tab stop with arrow keys inside.
import { useMemo, useRef, useState } from 'preact/hooks'
import { arrange, type DeviceRow, type Fleet, labelText, type Sort, type SortKey } from './fleet.ts'
import { formatAge } from './format.ts'
import { MAX_DEVICES, type Roster } from './roster.ts'

const STEP = 200
const RESORT_MS = 2000

const HEADINGS: readonly (readonly [SortKey, string])[] = [
  ['name', 'Name'],
  ['labels', 'Labels'],
  ['type', 'Type'],
  ['value', 'Last value'],
  ['age', 'Age'],
]

type Props = {
  readonly roster: Roster
  readonly now: number
  readonly chosen: string | undefined
  readonly onOpen: (id: string) => void
}

export function DeviceTable({ roster, now, chosen, onOpen }: Props) {
  const { fleet, loaded, isPartial, isSearching } = roster
  const [filter, setText] = useState('')
  const setFilter = (text: string) => {
    setText(text)
    roster.search(text)
  }
  const [sort, setSort] = useState<Sort>({ key: 'name', descending: false })
  const [limit, setLimit] = useState(STEP)
  const [current, setCurrent] = useState<string>()
  const order = useOrder(fleet, filter, sort, now)
  const shown = order.ids.slice(0, limit).flatMap(id => fleet.row(id) ?? [])
  const tabStop = shown.some(row => row.id === current) ? current : shown[0]?.id
  const open = (id: string) => {
    setCurrent(id)
    onOpen(id)
  }
  return (
    <section class="devices" aria-labelledby="devices">
      <div class="bar">
        <h2 id="devices">Devices</h2>
        <p class="quiet" data-shown>
          {loaded ? countText(shown.length, order.ids.length, filter, isPartial) : 'loading…'}
        </p>
        <label class="filter">
          <span class="spoken">Filter devices</span>
          <input
            type="search"
            placeholder="Filter by name, label, type"
            value={filter}
            spellcheck={false}
            onInput={event => setFilter(event.currentTarget.value)}
          />
        </label>
      </div>
      {isPartial && <Part roster={roster} filter={filter} />}
      <table>
        <thead>
          <tr>
            {HEADINGS.map(([key, text]) => (
              <Heading key={key} column={key} text={text} sort={sort} onSort={setSort} />
            ))}
          </tr>
        </thead>
        <tbody ref={order.body} onKeyDown={moveFocus}>
          {shown.map(row => (
            <Row
              key={row.id}
              row={row}
              age={row.latest ? formatAge(now - row.latest.timeMs) : '–'}
              tabStop={row.id === tabStop}
              chosen={row.id === chosen}
              onOpen={open}
            />
          ))}
        </tbody>
      </table>
      {loaded && order.ids.length === 0 && !isSearching && (
        <p class="empty">
          No device matches “{filter}”.{' '}
          <button type="button" onClick={() => setFilter('')}>
            Clear the filter
          </button>
        </p>
      )}
      {order.ids.length > limit && (
        <p class="empty">
          <button type="button" onClick={() => setLimit(limit + STEP)}>
            Show {Math.min(STEP, order.ids.length - limit)} more
          </button>
        </p>
      )}
    </section>
  )
}

function countText(shown: number, matching: number, filter: string, isPartial: boolean): string {
  const text = `showing ${shown.toLocaleString('en')} of ${matching.toLocaleString('en')}`
  if (filter.trim() === '') return isPartial ? `${text} that are loaded` : text
  return isPartial ? `${text} found` : `${text} that match`
}

/** Of a large project only a part is here, and that is said. */
function Part({ roster, filter }: { readonly roster: Roster; readonly filter: string }) {
  const few = MAX_DEVICES.toLocaleString('en')
  if (filter.trim() === '') return <p class="part quiet">The first {few} devices are loaded. The filter looks through all there are.</p>
  return (
    <p class="part quiet" aria-live="polite">
      {roster.isSearching && 'Searching all devices…'}
      {!roster.isSearching && !roster.canSearchOn && 'All devices were searched.'}
      {roster.canSearchOn && (
        <>
          There may be more that match.{' '}
          <button type="button" class="link" onClick={() => void roster.searchOn()}>
            Search on
          </button>
        </>
      )}
    </p>
  )
}

/** The order of the rows: new when asked for or when devices come and go; by value or age it follows the data every two
 * seconds, but never under a pointer or a focus that is in the table. */
function useOrder(fleet: Fleet, filter: string, sort: Sort, now: number) {
  const body = useRef<HTMLTableSectionElement>(null)
  const step = useRef(0)
  const moves = sort.key === 'value' || sort.key === 'age'
  if (moves && body.current && !body.current.matches(':hover, :focus-within')) step.current = Math.floor(now / RESORT_MS)
  const ids = useMemo(() => arrange(fleet.rows(), filter, sort).map(row => row.id), [fleet, fleet.membership, filter, sort, step.current])
  return { ids, body }
}

type HeadingProps = { readonly column: SortKey; readonly text: string; readonly sort: Sort; readonly onSort: (sort: Sort) => void }

function Heading({ column, text, sort, onSort }: HeadingProps) {
  const sorted = sort.key === column
  const direction = sort.descending ? 'descending' : 'ascending'
  return (
    <th scope="col" class={column} aria-sort={sorted ? direction : 'none'}>
      <button type="button" class="plain" onClick={() => onSort({ key: column, descending: sorted && !sort.descending })}>
        {text}
        <span aria-hidden="true" class="arrow">
          {sorted ? (sort.descending ? '▼' : '▲') : ''}
        </span>
      </button>
    </th>
  )
}

type RowProps = {
  readonly row: DeviceRow
  readonly age: string
  readonly tabStop: boolean
  readonly chosen: boolean
  readonly onOpen: (id: string) => void
}

// Preact leaves an element alone that is the same object as before: at ten redraws a second most rows are.
// The button is the way for keys and screen readers; a click anywhere in the row only widens its target.
function Row({ row, age, tabStop, chosen, onOpen }: RowProps) {
  const latest = useRef(onOpen)
  latest.current = onOpen
  return useMemo(() => {
    const labels = labelText(row)
    return (
      <tr data-device={row.id} class={chosen ? 'chosen' : undefined} onClick={() => latest.current(row.id)}>
        <th scope="row" class="name">
          <button type="button" class="plain" tabIndex={tabStop ? 0 : -1} aria-expanded={chosen}>
            {row.name}
          </button>
          {row.name !== row.id && <span class="id">{row.id}</span>}
          <span class="below">{labels === '' ? row.type : `${row.type} · ${labels}`}</span>
        </th>
        <td class="labels" title={labels}>
          {labels}
        </td>
        <td class="type">{row.type}</td>
        <td class="value">{row.latest?.text ?? '–'}</td>
        <td class="age">{age}</td>
      </tr>
    )
  }, [row, age, tabStop, chosen])
}

type Move = (at: number, last: number) => number

const MOVES: ReadonlyMap<string, Move> = new Map<string, Move>([
  ['ArrowDown', (at, last) => Math.min(last, at + 1)],
  ['ArrowUp', at => Math.max(0, at - 1)],
  ['PageDown', (at, last) => Math.min(last, at + 10)],
  ['PageUp', at => Math.max(0, at - 10)],
  ['Home', () => 0],
  ['End', (_at, last) => last],
])

function moveFocus(event: KeyboardEvent): void {
  const move = MOVES.get(event.key)
  const body = event.currentTarget as HTMLElement
  const buttons = [...body.querySelectorAll<HTMLButtonElement>('tr button')]
  const at = buttons.indexOf(document.activeElement as HTMLButtonElement)
  if (!move || at < 0) return
  event.preventDefault()
  buttons[move(at, buttons.length - 1)]?.focus()
}

/** Puts the focus on a device's row, where it was before its chart opened. */
export function focusDevice(id: string): void {
  document.querySelector<HTMLElement>(`tr[data-device="${CSS.escape(id)}"] button`)?.focus()
}
