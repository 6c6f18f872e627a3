// Marks on the axis of time.

const MINUTES = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' })
const DAYS = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short' })

/** 24-hour clock; the date where a day begins. */
export function timeMarks(_plot: unknown, marks: number[]): string[] {
  return marks.map(seconds => {
    const text = MINUTES.format(seconds * 1000)
    return text === '00:00' ? DAYS.format(seconds * 1000) : text
  })
}
