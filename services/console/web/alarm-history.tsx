// What has happened to an alarm, newest first, and for each change: how it came about and who was told.
import type { Alarm, AlarmReceipt, AlarmRecord } from '../../../packages/client/index.ts'
import { formatTimeOfDay } from './format.ts'
import { recordWords } from './record.ts'

export function History({
  records,
  alarm,
  now,
}: {
  readonly records: readonly AlarmRecord[]
  readonly alarm: Alarm
  readonly now: number
}) {
  return (
    <section class="history" aria-labelledby="history">
      <div class="bar">
        <h2 id="history">History</h2>
        <p class="quiet">{records.length === 0 ? 'nothing is noted yet' : ''}</p>
      </div>
      {records.length > 0 && (
        <ol>
          {records.map(record => {
            const { what, detail, by, time, isLate } = recordWords(record)
            return (
              <li key={record.seq} data-record={record.kind}>
                <time dateTime={time} title={`${time}, noted ${record.time}`}>
                  {formatTimeOfDay(Date.parse(time), now)}
                </time>
                <div>
                  <p>
                    <strong>{what}</strong>
                    {by !== '' && ` by ${by}`}
                    {isLate && <span class="badge">found late</span>}
                    {record.episode !== alarm.episode && <span class="quiet"> · episode {record.episode}</span>}
                  </p>
                  {detail !== '' && <p class="quiet">{detail}</p>}
                </div>
              </li>
            )
          })}
        </ol>
      )}
    </section>
  )
}

export function Receipts({ receipts, now }: { readonly receipts: readonly AlarmReceipt[]; readonly now: number }) {
  if (receipts.length === 0) return null
  return (
    <section class="receipts" aria-labelledby="receipts">
      <h2 id="receipts">From event to person</h2>
      <ul>
        {receipts.map(receipt => (
          <li key={receipt.seq} data-receipt={receipt.kind}>
            <strong>{receipt.kind}</strong>
            <ol class="steps">
              {stepsOf(receipt, now).map(([what, when]) => (
                <li key={what}>
                  <span class="quiet">{what}</span> {when}
                </li>
              ))}
            </ol>
            {receipt.deliveries.map(({ id, channel, state, attempts }) => (
              <p key={id} data-delivery={state}>
                {channel}: <span class={state === 'dead' ? 'problem' : ''}>{state}</span>
                {attempts.map(one => (
                  <span class="quiet" key={one.time}>
                    {' '}
                    · {formatTimeOfDay(Date.parse(one.time), now)} {one.outcome}
                    {one.status !== null && ` ${one.status}`}
                    {one.durationMs !== null && ` in ${Math.round(one.durationMs)} ms`}
                    {one.detail !== '' && ` (${one.detail})`}
                  </span>
                ))}
              </p>
            ))}
          </li>
        ))}
      </ul>
    </section>
  )
}

function stepsOf({ event, judgedTime, acknowledged }: AlarmReceipt, now: number): (readonly [string, string])[] {
  const at = (time: string) => formatTimeOfDay(Date.parse(time), now)
  const steps: (readonly [string, string | null])[] = [
    ['measured', event?.timestamp ?? null],
    ['accepted', event?.acceptedTime ?? null],
    ['judged', judgedTime],
    ['acknowledged', acknowledged?.time ?? null],
  ]
  return steps.flatMap(([what, time]) => (time === null ? [] : [[what, at(time)] as const]))
}
