// Which device a certificate is for, by the names in it as Node reads them.
import type { IncomingMessage } from 'node:http'
import type { TLSSocket } from 'node:tls'
import { describe, expect, it } from 'vitest'
import { Failure } from '../core/failure.ts'
import { deviceAsking, deviceOf, rememberDevice } from './peer.ts'

type Subject = { readonly CN?: string | string[]; readonly O?: string | string[] }
const read = (subject: Subject, subjectaltname?: string) => deviceOf({ subject, subjectaltname } as never, 'home')

describe('the device of a client certificate', () => {
  it.each<[string, Subject, string | undefined, string, string]>([
    ['its common name, in the project of this installation', { CN: 'pump-1' }, undefined, 'home', 'pump-1'],
    ['its common name, in its organisation', { CN: 'pump-1', O: 'plant' }, undefined, 'plant', 'pump-1'],
    ['its common name before a DNS name', { CN: 'pump-1' }, 'DNS:pump-1.local', 'home', 'pump-1'],
    ['its only DNS name', { O: 'plant' }, 'DNS:pump-1', 'plant', 'pump-1'],
    ['its only DNS name, beside an address', {}, 'DNS:pump-1, IP Address:10.0.0.1', 'home', 'pump-1'],
    ['that of its URI', { CN: 'x', O: 'y z' }, 'URI:https://telltale.example.com/v2/projects/plant/devices/pump-1', 'plant', 'pump-1'],
    ['that of a URN', {}, 'URI:urn:telltale:projects/plant/devices/pump-1', 'plant', 'pump-1'],
    ['that of its URI, encoded', {}, 'URI:https://t/projects/plant/devices/a%20b', 'plant', 'a b'],
    ['that of its URI, quoted', {}, 'DNS:x, URI:"https://t/projects/plant/devices/a\\u002cb"', 'plant', 'a,b'],
    ['a name with a colon', { CN: '00:1a:2b' }, undefined, 'home', '00:1a:2b'],
  ])('is %s', (_, subject, names, project, id) => {
    expect(read(subject, names)).toEqual({ project, id })
  })

  it.each<[string, Subject, string?]>([
    ['nobody’s without a name', {}],
    ['nobody’s with an empty name', { CN: '' }],
    ['nobody’s with several common names', { CN: ['a', 'b'] }],
    ['nobody’s with several DNS names', {}, 'DNS:a, DNS:b'],
    ['nobody’s with several organisations', { CN: 'a', O: ['b', 'c'] }],
    ['nobody’s in an organisation that is no project', { CN: 'a', O: 'Acme AS' }],
    ['nobody’s with URIs of several devices', {}, 'URI:t:projects/p/devices/a, URI:t:projects/p/devices/b'],
    ['nobody’s with a URI that is not encoded', {}, 'URI:t:projects/p/devices/%zz'],
    ['nobody’s as one name inside another', {}, 'DNS:"x, URI:projects/p/devices/a", DNS:y'],
    // Hazard 7: as part of a topic filter such a name would be wider than its device.
    ...['a/b', '+', '#', 'a\u0000b', 'x+', '#y', '..', '-', 'a\nb', 'x'.repeat(300)].map((CN): [string, Subject] => [
      `refused as ${JSON.stringify(CN).slice(0, 20)}`,
      { CN },
    ]),
    ...['%2B', '%23', 'a%2Fb', '%00'].map((id): [string, Subject, string] => [
      `refused as ${id} in a URI`,
      {},
      `URI:t:projects/p/devices/${id}`,
    ]),
    ['refused in a project that could not be one', {}, 'URI:t:projects/%2B/devices/a'],
  ])('is %s', (_, subject, names) => {
    expect(() => read(subject, names)).toThrow(Failure)
  })
})

describe('a certificate that a browser shows', () => {
  const socket = {}
  rememberDevice(socket as TLSSocket, { project: 'plant', id: 'pump-1' })

  it.each<[string, string | undefined, boolean]>([
    ['no page', undefined, true],
    ['a page of this host', 'https://hub.example.com:8443', true],
    ['a page of another host', 'https://evil.example.com', false],
    ['a page of another port', 'https://hub.example.com', false],
    ['a page that hides where it is from', 'null', false],
  ])('counts as asked for by %s: %s', (_, origin, counts) => {
    const headers = { host: 'hub.example.com:8443', ...(origin === undefined ? {} : { origin }) }
    expect(deviceAsking({ socket, headers } as IncomingMessage)?.id).toBe(counts ? 'pump-1' : undefined)
  })
})
