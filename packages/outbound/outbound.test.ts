// Calls to other people's servers: where they may go, and that no answer of theirs can hold us (hazards 23-26).
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { type Allowed, Outbound, parseAllowed } from './outbound.ts'

function open(allowed: Allowed = [], timeoutMs?: number): Outbound {
  const outbound = new Outbound(allowed, timeoutMs)
  onTestFinished(() => outbound.close())
  return outbound
}

async function serve(listener: RequestListener): Promise<{ server: Server; port: number }> {
  const server = createServer(listener)
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return { server, port: (server.address() as AddressInfo).port }
}

describe('a URL', () => {
  it.each(['https://example.com/hook', 'http://8.8.8.8:8080/x?y=z', 'https://[2606:4700::1111]/', 'https://EXAMPLE.com.'])(
    '%s may be called',
    text => {
      expect(open().checkUrl(text, 'url').href).toBe(new URL(text).href)
    },
  )

  it.each([
    '127.0.0.1',
    '127.1',
    '2130706433',
    '0x7f000001',
    '0x7f.1',
    '0177.0.0.1',
    '127.0.0.1.',
    '0.0.0.0',
    '0',
    '10.1.2.3',
    '172.16.0.1',
    '192.168.1.1',
    '169.254.169.254',
    '100.64.0.1',
    '192.0.0.1',
    '192.0.2.1',
    '198.18.0.1',
    '224.0.0.1',
    '240.0.0.1',
    '255.255.255.255',
    '[::]',
    '[::1]',
    '[::ffff:127.0.0.1]',
    '[::ffff:7f00:1]',
    '[64:ff9b::7f00:1]',
    '[64:ff9b::127.0.0.1]',
    '[2002:7f00:1::]',
    '[fe80::1]',
    '[fc00::1]',
    '[fd12:3456::1]',
    '[fec0::1]',
    '[ff02::1]',
    '[2001:db8::1]',
    '[::127.0.0.1]',
  ])('to %s is refused', host => {
    expect(() => open().checkUrl(`http://${host}/`, 'url')).toThrow(/^url: .* is not a public address; TELLTALE_WEBHOOK_ALLOW_PRIVATE/)
  })

  it.each([
    ['ftp://example.com/', 'url: expected http or https, got ftp:'],
    ['file:///etc/passwd', 'url: expected http or https, got file:'],
    ['javascript:alert(1)', 'url: expected http or https, got javascript:'],
    ['gopher://example.com', 'url: expected http or https, got gopher:'],
    ['https://user@example.com/', 'url: expected no user or password in the URL: use headers'],
    ['https://:pass@example.com/', 'url: expected no user or password'],
    ['http://example.com@127.0.0.1/', 'url: expected no user or password'],
    ['example.com', 'url: expected a URL such as https://example.com/hook'],
    ['', 'url: expected a URL such as'],
    ['http://', 'url: expected a URL such as'],
    ['http://256.256.256.256/', 'url: expected a URL such as'],
    ['http://[::1%25eth0]/', 'url: expected a URL such as'],
  ])('%s is refused', (text, message) => {
    expect(() => open().checkUrl(text, 'url')).toThrow(message)
  })

  it('may lead where a network was allowed, and nowhere else', () => {
    const outbound = open(parseAllowed('10.0.0.0/8, fd00::/8'))
    expect(outbound.checkUrl('http://10.9.9.9/', 'url').hostname).toBe('10.9.9.9')
    expect(outbound.checkUrl('http://[fd00::1]/', 'url').hostname).toBe('[fd00::1]')
    expect(outbound.checkUrl('http://[::ffff:10.0.0.1]/', 'url')).toBeDefined()
    expect(() => outbound.checkUrl('http://127.0.0.1/', 'url')).toThrow('not a public address')
    expect(() => outbound.checkUrl('http://11.0.0.1@10.0.0.1/', 'url')).toThrow('no user')
  })
})

describe('what is allowed', () => {
  it('is read from its setting', () => {
    expect(['true', 'false', '', '10.0.0.0/8', ' 10.0.0.0/8 , ::1/128'].map(parseAllowed)).toEqual([
      'all',
      [],
      [],
      ['10.0.0.0/8'],
      ['10.0.0.0/8', '::1/128'],
    ])
    for (const text of ['yes', '10.0.0.0', '10.0.0.0/33', '10.0.0.0/8,', 'TRUE'])
      expect(() => parseAllowed(text)).toThrow('TELLTALE_WEBHOOK_ALLOW_PRIVATE: expected true, false or networks such as 10.0.0.0/8')
  })
})

describe('a call', () => {
  it('posts the body with its headers and brings the answer back', async () => {
    const { port } = await serve((request, response) => {
      let body = ''
      request.on('data', chunk => {
        body += String(chunk)
      })
      request.on('end', () => {
        response.writeHead(202, { 'retry-after': '7' })
        response.end(`${request.method} ${String(request.headers['x-a'])} ${request.headers['content-type']} ${body}`)
      })
    })
    const answer = await open('all').post(new URL(`http://127.0.0.1:${port}/`), { 'x-a': 'b' }, '{}')
    expect(answer).toMatchObject({ status: 202, retryAfterMs: 7000, body: 'POST b application/json {}' })
  })

  it('reaches no name that means this machine', async () => {
    let calls = 0
    const { port } = await serve((_, response) => {
      calls++
      response.end()
    })
    const url = new URL(`http://localhost:${port}/`)
    await expect(open().post(url, {}, '')).rejects.toThrow('localhost is not a public address')
    expect(calls).toBe(0)
    expect((await open(['127.0.0.0/8', '::1/128']).post(url, {}, '')).status).toBe(200)
  })

  it('checks the address again when it is made', async () => {
    await expect(open().post(new URL('http://127.0.0.1:9/'), {}, '')).rejects.toThrow('127.0.0.1 is not a public address')
  })

  it.each([301, 302, 303, 307, 308])('follows no redirect of status %i', async status => {
    let calls = 0
    const { port } = await serve((_, response) => {
      calls++
      response.writeHead(status, { location: '/again' })
      response.end()
    })
    expect((await open('all').post(new URL(`http://127.0.0.1:${port}/`), {}, '')).status).toBe(status)
    expect(calls).toBe(1)
  })

  it('reads 64 KiB of an answer of a gigabyte and hangs up', async () => {
    let closed = false
    const { port } = await serve((_, response) => {
      const chunk = Buffer.alloc(64 * 1024, 'x')
      let sent = 0
      const more = () => {
        while (sent < 1e9 && !response.destroyed) {
          sent += chunk.length
          if (!response.write(chunk)) return
        }
      }
      response.on('drain', more)
      response.on('close', () => {
        closed = true
      })
      more()
    })
    const answer = await open('all').post(new URL(`http://127.0.0.1:${port}/`), {}, '')
    expect([answer.status, answer.body.length]).toEqual([200, 64 * 1024])
    await expect.poll(() => closed, { timeout: 3000, interval: 10 }).toBe(true)
  })

  it('takes the status of an answer whose body never ends', async () => {
    const { port } = await serve((_, response) => {
      response.writeHead(200)
      response.write('so far')
    })
    const answer = await open('all', 200).post(new URL(`http://127.0.0.1:${port}/`), {}, '')
    expect(answer).toMatchObject({ status: 200, body: 'so far' })
  })

  it('gives up on a server that says nothing', async () => {
    const { port } = await serve(() => {})
    const startedMs = performance.now()
    await expect(open('all', 200).post(new URL(`http://127.0.0.1:${port}/`), {}, '')).rejects.toThrow()
    expect(performance.now() - startedMs).toBeLessThan(3000)
  })

  it('is broken off when it is told so', async () => {
    let closed = false
    const { port } = await serve((request, response) => {
      response.on('close', () => {
        closed = true
      })
      request.on('end', () => abort.abort()).resume()
    })
    const abort = new AbortController()
    await expect(open('all').post(new URL(`http://127.0.0.1:${port}/`), {}, '', abort.signal)).rejects.toThrow('aborted')
    await expect.poll(() => closed, { timeout: 3000, interval: 10 }).toBe(true)
  })

  it('says so when nobody is there', async () => {
    const { server, port } = await serve(() => {})
    await new Promise(resolve => server.close(resolve))
    await expect(open('all').post(new URL(`http://127.0.0.1:${port}/`), {}, '')).rejects.toThrow('ECONNREFUSED')
  })
})
