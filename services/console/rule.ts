// Rules: created, replaced, listed and removed by people; judged by the worker, which is woken to look at once.

import { invalid } from '../../packages/core/failure.ts'
import { parseRule, type Rule, ruleToJson } from '../../packages/core/rule.ts'
import { callerIn, type HttpApp } from '../../packages/runtime/http.ts'
import type { Channels } from '../../packages/state/channel.ts'
import type { Rules } from '../../packages/state/rule.ts'

export type RulePorts = {
  readonly rules: Rules
  readonly channels: Channels
  /** The judge should look again. */
  changed(project: string): void
}

type One = { Params: { project: string; rule: string } }
type All = { Params: { project: string } }

export function addRuleRoutes(app: HttpApp, ports: RulePorts): void {
  const { rules } = ports
  const save = async (project: string, rule: Rule, onlyNew: boolean) => {
    await checkChannels(ports.channels, project, rule)
    const saved = await rules.save(project, rule, onlyNew)
    ports.changed(project)
    return toJson(project, saved)
  }
  app.get<All>('/v2/projects/:project/rules', async request => {
    const { project } = request.params
    callerIn(request, project)
    return { rules: (await rules.list(project)).map(rule => toJson(project, rule)), nextPageToken: '' }
  })
  app.post<All>('/v2/projects/:project/rules', async request => {
    const { project } = request.params
    callerIn(request, project, 'developer')
    return save(project, parseRule(request.body), true)
  })
  app.get<One>('/v2/projects/:project/rules/:rule', async request => {
    const { project, rule } = request.params
    callerIn(request, project)
    return toJson(project, await rules.one(project, rule))
  })
  app.put<One>('/v2/projects/:project/rules/:rule', async request => {
    const { project, rule } = request.params
    callerIn(request, project, 'developer')
    return save(project, parseRule(request.body, rule), false)
  })
  app.delete<One>('/v2/projects/:project/rules/:rule', async request => {
    const { project, rule } = request.params
    callerIn(request, project, 'developer')
    await rules.remove(project, rule)
    ports.changed(project)
    return {}
  })
}

/** A rule that notifies a channel nobody made would be silent for ever. */
async function checkChannels(channels: Channels, project: string, rule: Rule): Promise<void> {
  const known = new Set((await channels.list(project)).map(({ name }) => name))
  for (const [i, name] of rule.notify.entries())
    if (!known.has(name)) throw invalid(`notify.${i}`, `channel ${name} does not exist; there are: ${[...known].join(', ') || 'none'}`)
}

function toJson(project: string, rule: Rule): object {
  return { ...ruleToJson(rule), name: rule.name, resource: `projects/${project}/rules/${rule.name}` }
}
