// A rule as a form: the same document as its YAML, in the order in which one thinks of a rule.
import type { ComponentChildren } from 'preact'
import { ConditionForm, type Known } from './condition-form.tsx'
import { getAt } from './draft.ts'
import type { Editor } from './editor.ts'
import { ChoiceField, FlagField, ListField, TextField } from './field.tsx'
import { InhibitorFields } from './inhibitor-form.tsx'
import { ScheduleFields } from './schedule-form.tsx'
import { SeverityFields } from './severity-form.tsx'
import { selectWords, timingWords } from './words.ts'

export type Choices = Known & {
  readonly deviceTypes: readonly string[]
  readonly labels: readonly string[]
  readonly labelKeys: readonly string[]
  readonly devices: readonly string[]
  readonly channels: readonly string[]
  readonly rules: readonly string[]
}

type Props = { readonly editor: Editor; readonly choices: Choices; readonly isNew: boolean }

export function RuleForm({ editor, choices, isNew }: Props) {
  return (
    <div class="rule-form">
      {isNew && (
        <Part title="Name">
          <TextField editor={editor} path={['name']} label="Name" placeholder="freezer-warm" hint="a-z 0-9 _ -; it stays as it is" />
        </Part>
      )}
      <Part title="When">
        <ConditionForm editor={editor} path={['when']} known={choices} label="Condition" />
      </Part>
      <Part title="Which devices" aside={selectWords(editor.doc)}>
        <div class="fields">
          <ListField
            editor={editor}
            path={['select', 'deviceTypes']}
            label="Device types"
            hint="any of them; none: all types"
            placeholder="temperature"
            suggestions={choices.deviceTypes}
          />
          <ListField
            editor={editor}
            path={['select', 'labels']}
            label="Labels"
            hint="all of them: key, or key=value"
            placeholder="zone=cold"
            suggestions={choices.labels}
          />
          <ListField
            editor={editor}
            path={['select', 'devices']}
            label="Devices"
            hint="any of them; none: all that are left"
            placeholder="freezer-1"
            suggestions={choices.devices}
          />
        </div>
      </Part>
      <Part title="For how long" aside={timingWords(editor.doc)}>
        <div class="fields">
          <TextField editor={editor} path={['for']} label="Must hold for" hint="before the alarm is active" placeholder="5m" />
          <TextField editor={editor} path={['keepActive']} label="Must be clear for" hint="before the alarm clears" placeholder="2m" />
        </div>
      </Part>
      <Part title="How grave">
        <SeverityFields editor={editor} />
      </Part>
      <Part title="Who is told">
        <TextField editor={editor} path={['title']} label="Title" hint="what people call the rule; {{title}} in messages" wide />
        <TextField
          editor={editor}
          path={['message']}
          label="Message"
          wide
          placeholder="{{device.labels.name}} is {{value}}{{unit}} (limit {{limit}})"
          hint="{{value}}, {{unit}}, {{limit}}, {{reason}}, {{since}}, {{device.id}}, {{device.labels.KEY}}"
        />
        <ListField
          editor={editor}
          path={['notify']}
          label="Channels"
          hint={choices.channels.length === 0 ? 'this project has no channel yet' : `there are: ${choices.channels.join(', ')}`}
          suggestions={choices.channels}
        />
      </Part>
      <More title="Only at certain times" isSet={getAt(editor.doc, ['schedule']) !== undefined}>
        <ScheduleFields editor={editor} />
      </More>
      <More title="Grouping, inhibition, late events" isSet={isSet(editor)}>
        <div class="fields">
          <ListField
            editor={editor}
            path={['groupBy']}
            label="Group by"
            hint="keys of labels: devices with the same values share one alarm"
            placeholder="site"
            suggestions={choices.labelKeys}
          />
          <TextField
            editor={editor}
            path={['unacknowledgeAfter']}
            label="Acknowledgement lapses after"
            placeholder="8h"
            hint="empty: when the alarm clears"
          />
          <ChoiceField
            editor={editor}
            path={['late']}
            label="Events that come too late"
            absent="change nothing"
            choices={LATE}
            hint="an alarm whose time turns out otherwise is corrected, or left as it was"
          />
        </div>
        <InhibitorFields editor={editor} rules={choices.rules} labelKeys={choices.labelKeys} />
      </More>
      <Part title="In use">
        <FlagField isSetWhenAbsent editor={editor} path={['enabled']} label="Enabled" hint="when it is not, its alarms clear" />
      </Part>
    </div>
  )
}

const LATE = [
  ['ignore', 'ignore: change nothing'],
  ['amend', 'amend the alarm'],
] as const

function isSet({ doc }: Editor): boolean {
  return ['groupBy', 'inhibitedBy', 'unacknowledgeAfter', 'late'].some(key => key in doc)
}

function Part({ title, aside = '', children }: { readonly title: string; readonly aside?: string; readonly children: ComponentChildren }) {
  return (
    <fieldset class="part-of-rule">
      <legend>
        {title} {aside !== '' && <span class="quiet aside-title">{aside}</span>}
      </legend>
      {children}
    </fieldset>
  )
}

function More({ title, isSet, children }: { readonly title: string; readonly isSet: boolean; readonly children: ComponentChildren }) {
  return (
    <details class="part-of-rule" open={isSet}>
      <summary>{title}</summary>
      {children}
    </details>
  )
}
