// Addresses of the page.
import { expect, test } from 'vitest'
import { hashOf, parseRoute } from './route.ts'

test.each(['plant-a', 'plant/line 3/é', 'a%2Fb', '#?&', '<img src=x>'])('the page of the stream %s is found by its address', stream => {
  expect(parseRoute(hashOf({ part: 'streams', stream }))).toEqual({ part: 'streams', stream })
})

test.each(['', '#', '#/', '#/elsewhere', '#/streams/a/b', 'x'])('%s shows the devices', hash => {
  expect(parseRoute(hash)).toEqual({ part: 'devices' })
})

test('an address that is none of a stream shows all streams', () => {
  expect(parseRoute('#/streams/%E0%A4%A')).toEqual({ part: 'streams' })
  expect(parseRoute(hashOf({ part: 'streams' }))).toEqual({ part: 'streams' })
})
