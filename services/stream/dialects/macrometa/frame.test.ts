// Frames of producers and consumers, row by row (contracts.md 2.a.3).
import { describe, expect, it } from 'vitest'
import type { Message } from '../../../../packages/log/durable/message.ts'
import { DEFAULT_RETENTION } from '../../../../packages/log/durable/stream.ts'
import { messageFrame, parseCommand, parseSent } from './frame.ts'

describe('what a producer sends', () => {
  it.each([
    ['{"payload":"AA=="}', { payload: Buffer.from([0]) }],
    ['{"payload":""}', { payload: Buffer.alloc(0) }],
    // A word that is base64 by chance: one example of the vendor's sends it.
    ['{"payload":"test"}', { payload: Buffer.from([0xb5, 0xeb, 0x2d]) }],
    ['{"payload":"dGVzdA"}', { payload: Buffer.from('test') }],
    ['{"payload":"AA==","key":"k","properties":{"a":"b","n":1,"t":true}}', { key: 'k', properties: { a: 'b', n: '1', t: 'true' } }],
    ['{"payload":"AA==","key":null,"properties":null,"eventTime":null,"context":null}', { properties: undefined, eventTimeUs: undefined }],
    ['{"payload":"AA==","key":""}', {}],
    ['{"payload":"AA==","eventTime":"1970-01-01T01:00:00.000001+01:00"}', { eventTimeUs: 1 }],
    ['{"payload":"AA==","unheardOf":[1]}', {}],
    [
      '{"payload":"AA==","properties":{"__proto__":"x"}}',
      { properties: JSON.parse('{"__proto__":"x"}') as Readonly<Record<string, string>> },
    ],
  ])('%s is a message', (text, message) => {
    const sent = parseSent(text, 'me')
    expect(sent).toMatchObject({ message: { producer: 'me', ...message } })
    if (text.includes('"key":""')) expect(sent).not.toHaveProperty('message.key')
  })

  it.each([
    ['{', 3],
    ['[]', 3],
    ['"x"', 3],
    ['null', 3],
    ['', 3],
    ['{"payload":"AA==","context":{}}', 3],
    ['{"payload":"AA==","context":"c","properties":[]}', 3],
    ['{"payload":"AA==","context":"c","properties":{"a":{}}}', 3],
    ['{"payload":"AA==","context":"c","key":[]}', 3],
    ['{"context":"c"}', 7],
    ['{"payload":null,"context":"c"}', 7],
    ['{"payload":1,"context":"c"}', 7],
    ['{"payload":"Hello World","context":"c"}', 7],
    ['{"payload":"AA=","context":"c"}', 7],
    ['{"payload":"A","context":"c"}', 7],
    ['{"payload":"A===","context":"c"}', 7],
    ['{"payload":"=","context":"c"}', 7],
    ['{"payload":"====","context":"c"}', 7],
    ['{"payload":"AA==AA==","context":"c"}', 7],
    ['{"payload":"A-_=","context":"c"}', 7],
    ['{"payload":"AA==\\n","context":"c"}', 7],
    ['{"payload":"AA==","eventTime":"yesterday","context":"c"}', 7],
    ['{"payload":"AA==","eventTime":1,"context":"c"}', 7],
    ['{"payload":"AA==","key":"\\u0000","context":"c"}', 7],
    [JSON.stringify({ payload: 'AA==', key: 'k'.repeat(513), context: 'c' }), 7],
    [JSON.stringify({ payload: 'AA==', properties: { a: 'x'.repeat(20_000) }, context: 'c' }), 7],
    [JSON.stringify({ payload: 'A'.repeat(6_000_000), context: 'c' }), 8],
  ])('is not taken, but answered with its number (%#)', (text, fault) => {
    expect(parseSent(text, 'me')).toEqual({ context: fault === 3 ? undefined : 'c', fault, reason: expect.any(String) })
  })

  it.each(['17', 17, true, 1.5])('comes with the context %o, and keeps it', context => {
    expect(parseSent(JSON.stringify({ payload: 'AA==', context }), 'me').context).toBe(context)
  })
})

describe('what a consumer sends', () => {
  it.each([
    ['{"messageId":"CAEQBCAA"}', { type: 'ack', messageId: 'CAEQBCAA' }],
    ['{"type":null,"messageId":"CAEQBCAA"}', { type: 'ack', messageId: 'CAEQBCAA' }],
    ['{"type":"negativeAcknowledge","messageId":"CAEQBCAA"}', { type: 'nack', messageId: 'CAEQBCAA' }],
    ['{"type":"permit","permitMessages":100}', { type: 'permit', messages: 100 }],
    ['{"type":"unsubscribe"}', { type: 'unsubscribe' }],
    ['{"type":"isEndOfTopic"}', { type: 'isEndOfTopic' }],
  ])('%s is a command', (text, command) => expect(parseCommand(text)).toEqual(command))

  it.each([
    '{',
    '[]',
    '{}',
    '{"messageId":1}',
    '{"messageId":"?"}',
    '{"messageId":""}',
    '{"type":"negativeAcknowledge"}',
    '{"type":"permit"}',
    '{"type":"permit","permitMessages":-1}',
    '{"type":"permit","permitMessages":1.5}',
    '{"type":"permit","permitMessages":"5"}',
    '{"type":"x","messageId":"AAAA"}',
  ])('%s is none', text => expect(() => parseCommand(text)).toThrow(expect.objectContaining({ code: 'invalid' })))
})

it('a message is sent with what it has and nothing else, and with times that say their offset', () => {
  const record = { name: 's', uid: '0123456789ab', createTime: '', retention: DEFAULT_RETENTION }
  const message: Message = {
    seq: 1,
    publishMs: 1_740_897_669_104,
    payload: Buffer.from([0xff, 0]),
    key: undefined,
    properties: {},
    eventTimeUs: undefined,
    name: undefined,
    number: undefined,
    producer: 'p',
    bytesTo: 0,
  }
  const base = {
    messageId: 'ASNFZ4mrAAAAAAAB',
    payload: '/wA=',
    properties: {},
    publishTime: '2025-03-02T06:41:09.104+00:00',
    redeliveryCount: 2,
  }
  expect(JSON.parse(messageFrame(record, message, 2))).toEqual(base)
  expect(JSON.parse(messageFrame(record, { ...message, key: 'k', eventTimeUs: 1 }, 2))).toEqual({
    ...base,
    key: 'k',
    eventTime: '1970-01-01T00:00:00.000001+00:00',
  })
})
