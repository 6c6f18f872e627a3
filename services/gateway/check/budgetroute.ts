// A project's budget: what it may hold, what it does, and what a payload would add, before anything is accepted or refused.
import { type Static, Type } from 'typebox'
import { Failure } from '../../../packages/core/failure.ts'
import { callerIn, type HttpApp, MAX_EVENTS_BYTES, verb } from '../../../packages/runtime/http.ts'
import { described, ProjectId } from '../../../packages/runtime/schema.ts'
import type { Budgets, Limits } from '../../../packages/state/budget.ts'
import type { Clock } from '../decode/event.ts'
import { decodeJson } from '../decode/json.ts'
import type { Budget } from './budget.ts'

export type BudgetRoutePorts = { readonly budgets: Budgets; readonly budget: Budget; readonly clock: Clock }

const MOST = 100_000_000
const Limit = (description: string) => Type.Optional(Type.Integer({ minimum: 0, maximum: MOST, description }))
const LimitsBody = Type.Object(
  {
    devices: Limit('devices'),
    eventTypes: Limit('different event types, of all devices together'),
    fields: Limit('different fields with numbers, of all event types together'),
    labelValues: Limit('different values of labels, of all keys together'),
  },
  { additionalProperties: false, examples: [{ devices: 5000, eventTypes: 50 }] },
)
const Use = Type.Object({ limit: Type.Integer(), used: Type.Integer() })
const BudgetAnswer = Type.Object({ devices: Use, eventTypes: Use, fields: Use, labelValues: Use })
const Line = Type.Object({
  limit: Type.Integer(),
  used: Type.Integer(),
  new: Type.Array(Type.String(), { description: 'what it would add' }),
  fits: Type.Boolean(),
})
const PreviewAnswer = Type.Object({
  devices: Line,
  eventTypes: Line,
  fields: Line,
  errors: Type.Array(Type.Object({ index: Type.Integer(), field: Type.Optional(Type.String()), message: Type.String() }), {
    description: 'what is no event, whatever the budget',
  }),
})
const Sample = Type.Array(Type.Object({}, { additionalProperties: true }), {
  description: 'events as they would be sent',
  examples: [[{ targetName: 'projects/default/devices/freezer-1', eventType: 'temperature', data: { temperature: { value: -18.5 } } }]],
})
const params = Type.Object({ project: ProjectId })
const tags = ['events']

export function addBudgetRoutes(app: HttpApp, ports: BudgetRoutePorts): void {
  const { budgets, budget } = ports
  app.get(
    '/v2/projects/:project/budget',
    {
      schema: { operationId: 'getBudget', summary: 'Says what a project may hold and does', tags, params, response: { 200: BudgetAnswer } },
    },
    async request => {
      const { project } = request.params
      callerIn(request, project)
      return use(budgets, project)
    },
  )
  app.patch(
    '/v2/projects/:project/budget',
    {
      schema: {
        operationId: 'updateBudget',
        summary: 'Changes what a project may hold; what is there stays',
        tags,
        params,
        body: LimitsBody,
        response: { 200: BudgetAnswer },
      },
    },
    async request => {
      const { project } = request.params
      callerIn(request, project, 'admin')
      await budgets.setLimits(project, request.body as Static<typeof LimitsBody> & Partial<Limits>)
      await budget.changed(project)
      return use(budgets, project)
    },
  )
  addPreview(app, ports)
}

function addPreview(app: HttpApp, { budget, clock }: BudgetRoutePorts): void {
  app.post(
    verb('/v2/projects/:project/budget', 'preview'),
    {
      config: { raw: true, limit: 'ingest' },
      bodyLimit: MAX_EVENTS_BYTES,
      schema: {
        operationId: 'previewBudget',
        summary: 'Says what these events would add to a project, and whether that fits; accepts nothing',
        tags,
        params,
        body: described(Sample),
        response: { 200: PreviewAnswer },
      },
    },
    async request => {
      const { project } = request.params
      callerIn(request, project)
      const body = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0)
      if (body.length === 0) throw new Failure('invalid', 'body: expected an array of events', { field: 'body' })
      const decoded = decodeJson(body, { project }, clock)
      const events = decoded.flatMap(one => ('event' in one ? [one.event] : []))
      const errors = decoded.flatMap((one, index) =>
        'failure' in one
          ? [{ index, ...(one.failure.field === undefined ? {} : { field: one.failure.field }), message: one.failure.message }]
          : [],
      )
      return { ...(await budget.preview(project, events)), errors }
    },
  )
}

async function use(budgets: Budgets, project: string): Promise<Static<typeof BudgetAnswer>> {
  const [{ limits, devices, names = [] }, labelValues] = await Promise.all([budgets.held(project), budgets.labelValues(project)])
  const fields = names.filter(name => name.includes('\n')).length
  return {
    devices: { limit: limits.devices, used: devices },
    eventTypes: { limit: limits.eventTypes, used: names.length - fields },
    fields: { limit: limits.fields, used: fields },
    labelValues: { limit: limits.labelValues, used: labelValues },
  }
}
