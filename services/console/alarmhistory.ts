// What happened to alarms, for those who have to prove it: the chain of all records of a project, and receipts of each change of an alarm.
import { Type } from 'typebox'
import type { HistoryRecord } from '../../packages/core/chain.ts'
import { invalid } from '../../packages/core/failure.ts'
import { callerIn, type HttpApp } from '../../packages/runtime/http.ts'
import { encodeToken } from '../../packages/runtime/page.ts'
import { listOf, PageQuery, ProjectId } from '../../packages/runtime/schema.ts'
import type { Alarms } from '../../packages/state/alarm.ts'
import type { History } from '../../packages/state/history.ts'
import { pageBack, placeOf } from './alarm.ts'
import { AlarmId, orNull, RecordAnswer } from './alarmschema.ts'
import { OneByOne } from './onebyone.ts'
import { type ReceiptPorts, receiptsOf } from './receipt.ts'

export type AlarmHistoryPorts = ReceiptPorts & { readonly alarms: Alarms; readonly history: History; nowUs(): number }

const Place = Type.Object({ seq: Type.Integer(), hash: Type.String() })
const HistoryAnswer = Type.Object({
  records: Type.Array(RecordAnswer),
  base: Type.Object(Place.properties, { description: 'the record before the first of this page; 0 and 64 zeros: there never was one' }),
  head: Type.Object(Place.properties, { description: 'where the chain ended when this was asked' }),
  nextPageToken: Type.String(),
})
const Attempt = Type.Object({
  time: Type.String(),
  durationMs: Type.Integer(),
  outcome: Type.Union([Type.Literal('delivered'), Type.Literal('retry'), Type.Literal('refused')]),
  status: orNull(Type.Integer(), 'of the answer'),
  providerId: orNull(Type.String(), 'what the receiver calls it'),
  detail: Type.String(),
})
const ReceiptAnswer = Type.Object({
  seq: Type.Integer({ description: 'of the record in the history' }),
  kind: Type.String(),
  episode: Type.Integer(),
  event: orNull(
    Type.Object({
      eventId: Type.String(),
      timestamp: orNull(Type.String(), "the event's own"),
      acceptedTime: orNull(Type.String(), "on the server's disk, acknowledged to the device"),
      stored: Type.Boolean({ description: 'false: not yet, or not kept any more' }),
    }),
    'what caused the change; null: silence did',
  ),
  judgedTime: Type.String(),
  deliveries: Type.Array(
    Type.Object({
      id: Type.String({ description: 'what the receiver knows it by' }),
      channel: Type.String(),
      state: Type.Union([Type.Literal('open'), Type.Literal('delivered'), Type.Literal('dead')]),
      createTime: Type.String(),
      attempts: Type.Array(Attempt, { description: 'the first 20, and the one that ended it' }),
    }),
  ),
  acknowledged: orNull(
    Type.Object({ by: Type.String(), time: Type.String(), comment: Type.String() }),
    'the first time after this, in this episode',
  ),
})
const project = ProjectId
const tags = ['alarms']
const MAX_PAGE = 1000
/** Each receipt asks the store for its event. */
const MAX_RECEIPTS = 50

export function addAlarmHistoryRoutes(app: HttpApp, ports: AlarmHistoryPorts): void {
  const { alarms, history } = ports
  const turns = new OneByOne()
  app.get(
    '/v2/projects/:project/alarmhistory',
    {
      schema: {
        operationId: 'listProjectAlarmHistory',
        summary: 'Lists what has happened to all alarms, oldest first: a chain of hashes, in which what was removed or edited shows',
        tags,
        params: Type.Object({ project }),
        querystring: Type.Object({
          fromSeq: Type.Optional(Type.Integer({ minimum: 1, description: 'from this record on, unless it is not kept any more' })),
          ...PageQuery,
        }),
        response: { 200: HistoryAnswer },
      },
    },
    async request => {
      const { project } = request.params
      callerIn(request, project)
      const { fromSeq, pageSize = MAX_PAGE, pageToken } = request.query
      const place = placeOf(pageToken)
      if (place !== '' && fromSeq !== undefined) throw invalid('fromSeq', 'expected without pageToken, which says where to go on')
      // Before the records: all up to it are in them.
      const head = await history.head(project)
      const page = await history.page(project, place === '' ? (fromSeq ?? 1) : Number(place), Math.min(pageSize, MAX_PAGE))
      const { records, base, next } = page
      return { records: [...records], base, head, nextPageToken: next === undefined ? '' : encodeToken(String(next)) }
    },
  )
  app.get(
    '/v2/projects/:project/alarms/:alarm/receipts',
    {
      schema: {
        operationId: 'listAlarmReceipts',
        summary:
          'Lists how the changes of an alarm came about and reached people, newest first: the event, judged when, each attempt, who has seen it',
        tags,
        params: Type.Object({ project, alarm: AlarmId }),
        querystring: Type.Object(PageQuery),
        response: { 200: listOf('receipts', ReceiptAnswer) },
      },
    },
    async request => {
      const { project, alarm } = request.params
      callerIn(request, project)
      const { pageSize = MAX_RECEIPTS, pageToken } = request.query
      const records = await alarms.history(project, alarm)
      const { changes, nextPageToken } = pageBack('changes', records.filter(isChange), Math.min(pageSize, MAX_RECEIPTS), pageToken)
      const receipts = await turns.within(project, () => receiptsOf(ports, project, changes, records, ports.nowUs()))
      return { receipts, nextPageToken }
    },
  )
}

function isChange({ changeId }: HistoryRecord): boolean {
  return changeId !== undefined
}
