// Rules: the table of all, or the page of one.
import './rule.css'
import type { Feed } from './feed.ts'
import { NEW_RULE } from './route.ts'
import { RulePage } from './rule-page.tsx'
import { RuleTable } from './rule-table.tsx'

export type RulesProps = {
  readonly feed: Feed
  readonly rule: string | undefined
  readonly copyOf: string | undefined
  readonly now: number
  readonly themeVersion: number
}

export function RulesPart({ feed, rule, copyOf, now, themeVersion }: RulesProps) {
  if (rule === undefined) return <RuleTable feed={feed} />
  const name = rule === NEW_RULE ? undefined : rule
  return <RulePage key={`${rule} ${copyOf ?? ''}`} feed={feed} name={name} copyOf={copyOf} now={now} themeVersion={themeVersion} />
}
