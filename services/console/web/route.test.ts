// Addresses of the page.
import { expect, test } from 'vitest'
import { hashOf, NEW_RULE, parseRoute, type Route } from './route.ts'

test.each(['plant-a', 'plant/line 3/é', 'a%2Fb', '#?&', '<img src=x>'])('the page of the stream %s is found by its address', stream => {
  expect(parseRoute(hashOf({ part: 'streams', stream }))).toEqual({ part: 'streams', stream })
})

test.each<Route>([
  { part: 'devices' },
  { part: 'alarms' },
  { part: 'alarms', alarm: 'aldv3cia0cfa8tqnocc0' },
  { part: 'silences' },
  { part: 'rules' },
  { part: 'rules', rule: 'freezer-warm' },
  { part: 'rules', rule: NEW_RULE, copyOf: 'freezer-warm' },
])('%o is found by its address', route => {
  expect(parseRoute(hashOf(route))).toEqual(route)
})

test.each(['', '#', '#/', '#/elsewhere', '#/streams/a/b', '#/alarms/a/b', 'x'])('%s shows the devices', hash => {
  expect(parseRoute(hash)).toEqual({ part: 'devices' })
})

test('an address that is none of a stream shows all streams', () => {
  expect(parseRoute('#/streams/%E0%A4%A')).toEqual({ part: 'streams' })
  expect(parseRoute(hashOf({ part: 'streams' }))).toEqual({ part: 'streams' })
})
