// What stands around the checks: the order of acknowledgements, who is let in when, who counts as one, what is said, who is subscribed.
import { describe, expect, it } from 'vitest'
import { Acks } from './ack.ts'
import { Addresses, neighbourhood } from './address.ts'
import { Admission } from './admission.ts'
import { Frames } from './frame.ts'
import { Sent } from './outgoing.ts'
import { DISCONNECT_PACKET } from './packet.ts'
import { Sample } from './sample.ts'

describe('acknowledgements', () => {
  function open() {
    const said: string[] = []
    const acks = new Acks({
      acknowledge: ids => void said.push(`ack ${ids.join()}`),
      failed: ({ packetId }, error) => void said.push(`${error.message} ${packetId}`),
    })
    return { acks, said, broker: (id: number) => () => void said.push(`broker ${id}`) }
  }

  it('are in the order of the publishes, whichever way each went and whenever it settles [MQTT-4.6.0-2]', () => {
    const { acks, said, broker } = open()
    const [one, two, three, four] = [acks.begin(1, 10), acks.begin(0, 0, broker(2)), acks.begin(3, 0), acks.begin(4, 0)]
    for (const publication of [three, two]) acks.settle(publication, undefined)
    expect(said).toEqual([])
    expect([acks.size, acks.bytes]).toEqual([4, 10])
    acks.settle(one, undefined)
    acks.settle(four, undefined)
    acks.flush()
    expect(said).toEqual(['ack 1', 'broker 2', 'ack 3,4'])
    expect([acks.size, acks.bytes]).toEqual([0, 0])
  })

  it('are none for QoS 0, and what came before a failure is acknowledged before it is told', () => {
    const { acks, said } = open()
    const [one, none, bad] = [acks.begin(1, 0), acks.begin(0, 0), acks.begin(2, 0)]
    acks.settle(bad, new Error('away'))
    acks.settle(one, undefined)
    expect(said).toEqual([])
    acks.settle(none, undefined)
    expect(said).toEqual(['ack 1', 'away 2'])
  })

  it('are as many as there were publishes, however many', async () => {
    const { acks, said } = open()
    for (let round = 0; round < 5; round++) {
      const some = Array.from({ length: 3000 }, (_, i) => acks.begin(i + 1, 1))
      for (const publication of some) acks.settle(publication, undefined)
      await Promise.resolve()
    }
    acks.flush()
    expect(said.join().match(/\d+/g)?.length).toBe(15_000)
  })
})

describe('what a client acknowledges', () => {
  const publish = (qos: number, id: number) => Buffer.from([0x30 | (qos << 1), 6, 0, 1, 0x61, id >> 8, id & 255, 7])

  it('of SUBSCRIBE and UNSUBSCRIBE is answered before anything else begins, but more of the same, up to 20 [MQTT-3.10.4-1]', () => {
    const [subscribe, unsubscribe, ping] = [0x82, 0xa2, 0xc0]
    let told = 0
    const sent = new Sent(() => told++)
    const allowed = () => [subscribe, unsubscribe, ping, undefined].map(first => sent.allows(first))
    expect(allowed()).toEqual([true, true, true, true])
    sent.asked(subscribe)
    expect(allowed()).toEqual([true, false, false, true])
    for (let n = 2; n <= 20; n++) sent.asked(subscribe)
    expect(allowed()).toEqual([false, false, false, true])
    sent.wrote(Buffer.from([0x90, 3, 0, 1, 0]))
    expect([told, ...allowed()]).toEqual([1, true, false, false, true])
    for (let n = 2; n <= 20; n++) sent.wrote(Buffer.from([0x90, 3, 0, n, 0]))
    sent.asked(unsubscribe)
    expect(allowed()).toEqual([false, true, false, true])
    sent.wrote(Buffer.from([0xb0, 2, 0, 1]))
    expect([told, ...allowed()]).toEqual([21, true, true, true, true])
  })

  it('is bounded: nobody leaves more than 20,000 messages open', () => {
    const sent = new Sent(() => {})
    const some = (from: number, count: number) => Buffer.concat(Array.from({ length: count }, (_, i) => publish(1, from + i)))
    expect([sent.wrote(some(1, 20_000)), sent.wrote(publish(1, 20_000)), sent.wrote(publish(1, 20_001))]).toEqual([true, true, false])
    expect([sent.expects(4, 1), sent.wrote(publish(0, 0))]).toEqual([true, true])
  })

  it('is what was sent to it, once', () => {
    const sent = new Sent(() => {})
    sent.wrote(Buffer.concat([publish(1, 5), Buffer.from([0x30, 4, 0, 1, 0x61, 7]), publish(2, 6)]))
    expect([sent.expects(4, 6), sent.expects(4, 5), sent.expects(4, 5), sent.expects(5, 5)]).toEqual([false, true, false, false])
    expect([sent.expects(7, 6), sent.expects(5, 6), sent.expects(5, 6), sent.expects(7, 6)]).toEqual([false, true, true, true])
    expect(sent.expects(7, 6)).toBe(false)
  })

  it('is also what a session released before', () => {
    const sent = new Sent(() => {})
    sent.wrote(Buffer.from([0x62, 2, 0, 9]))
    expect(sent.expects(7, 9)).toBe(true)
  })
})

describe('what came and was not taken', () => {
  it.each([
    ['with a DISCONNECT behind it', [0x30, 4, 0, 1, 0x61, 7, 0xe0, 0], true],
    ['with the bytes of one in a payload', [0x30, 5, 0, 1, 0x61, 0xe0, 0], false],
    ['with half of one', [0xc0, 0, 0xe0], false],
    ['with one behind what is too long', [0xd0, 0, 0xe0, 0], false],
  ])('is looked through for a goodbye: %s', (_, bytes, holds) => {
    const frames = new Frames(first => (first === 0xd0 ? 'too long' : undefined))
    frames.push(Buffer.from(bytes))
    expect(frames.holds(DISCONNECT_PACKET)).toBe(holds)
  })
})

describe('a storm of CONNECTs', () => {
  it('is let in a few at a time, in order; who is gone is passed over, who is in makes room', async () => {
    const admission = new Admission(() => 0)
    const entered: number[] = []
    const tickets = Array.from({ length: 200 }, (_, i) =>
      admission.ask({ bytes: 100, source: 'a', enter: () => void entered.push(i), refuse: () => expect.unreachable() }),
    )
    tickets[3]?.leave()
    const turns = async () => {
      for (let i = 0; i < 20; i++) await new Promise(setImmediate)
    }
    await turns()
    expect(entered).toEqual(Array.from({ length: 65 }, (_, i) => i).filter(i => i !== 3))
    for (const ticket of tickets.slice(0, 65)) ticket?.leave()
    await turns()
    expect([entered.length, admission.waiting]).toEqual([128, 71])
  })

  it('is let in to the last', async () => {
    const admission = new Admission(() => 0)
    const entered = new Set<number>()
    for (let i = 0; i < 5000; i++) {
      const ticket = admission.ask({
        bytes: 100,
        source: 'a',
        enter: () => {
          entered.add(i)
          setImmediate(() => ticket?.leave())
        },
        refuse: () => expect.unreachable(),
      })
    }
    for (let turn = 0; turn < 1000 && entered.size < 5000; turn++) await new Promise(setImmediate)
    expect([entered.size, admission.waiting]).toEqual([5000, 0])
  })

  it('has its end refused: by memory at once, by time when the turn comes', async () => {
    let nowMs = 0
    const admission = new Admission(() => nowMs)
    const refused: number[] = []
    const ask = (bytes: number, source = 'a') => admission.ask({ bytes, source, enter: () => {}, refuse: () => void refused.push(bytes) })
    ask(15 * 1024 * 1024)
    expect(ask(3 * 1024 * 1024)).toBeUndefined()
    nowMs = 31_000
    await new Promise(setImmediate)
    expect(refused).toEqual([15 * 1024 * 1024])
    expect(ask(3 * 1024 * 1024)).toBeDefined()
  })

  it('of one place keeps nobody from elsewhere waiting, and leaves them room', async () => {
    const admission = new Admission(() => 0)
    const entered: string[] = []
    const ask = (source: string, bytes = 1024) =>
      admission.ask({ bytes, source, enter: () => void entered.push(source), refuse: () => expect.unreachable() })
    let taken = 0
    while (ask('a')) taken++
    expect(taken).toBe(16 * 1024)
    for (const source of ['b', 'c', 'b']) expect(ask(source)).toBeDefined()
    await new Promise(setImmediate)
    expect(entered.slice(0, 6)).toEqual(['a', 'b', 'c', 'a', 'b', 'a'])
  })
})

describe('an address', () => {
  it.each([
    ['192.0.2.1', '192.0.2.1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['::1', '::1'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['2001:0db8:0001:0002:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:db8:1:2::', '2001:db8:1:2::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['', ''],
  ])('%s counts as %s', (address, counted) => {
    expect(neighbourhood(address)).toBe(counted)
  })

  it('holds as many connections as it may', () => {
    const addresses = new Addresses(2)
    expect(['a', 'a', 'a', 'b'].map(address => addresses.enter(address))).toEqual([true, true, false, true])
    addresses.leave('a')
    expect(addresses.enter('a')).toBe(true)
    expect(new Addresses(0).enter('a')).toBe(true)
  })
})

describe('what is said of a flood', () => {
  it('is a few lines of each source, and how many there were more', () => {
    const lines: object[] = []
    const sample = new Sample(facts => void lines.push(facts))
    for (let i = 0; i < 1000; i++) sample.add('a', { i }, 'cut off')
    sample.add('b', { i: 'b' }, 'cut off')
    sample.flush()
    expect(lines.length).toBe(10)
    expect(lines.slice(-2)).toEqual([{ i: 'b' }, { address: 'a', more: 992 }])
    for (let i = 0; i < 500; i++) sample.add(`c${i}`, { i }, 'cut off')
    sample.flush()
    expect(lines.length).toBeLessThan(130)
  })
})
