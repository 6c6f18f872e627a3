// The peer of the stream: nginx with nchan, which serves what is posted to a channel to its EventSource subscribers.
import { fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { findExecutable } from './executable.ts'
import { freePort, listening } from './peer.ts'
import type { Serving, Wave } from './serving.ts'
import { EventPacket, monotonicUs } from './wire.ts'

const MODULE = '/usr/lib/nginx/modules/ngx_nchan_module.so'
const CONNECTIONS = 10

/** Undefined, and said, where it is not installed. */
export function findNchan(): string | undefined {
  const nginx = findExecutable('nginx')
  if (nginx !== undefined && existsSync(MODULE)) return nginx
  console.warn('nginx with nchan is not installed: the peer is skipped (apt-get install libnginx-mod-nchan)')
  return undefined
}

/** @param processes its workers, which share one port. */
export async function startNchan(nginx: string, processes = 1): Promise<Serving> {
  const folder = await mkdtemp(join(tmpdir(), 'telltale-nchan-'))
  const port = await freePort()
  await writeFile(join(folder, 'nginx.conf'), configuration(folder, port, processes))
  const child = spawn(nginx, ['-p', folder, '-c', join(folder, 'nginx.conf')], { stdio: 'inherit' })
  await listening(port, 'nginx')
  return {
    name: 'nginx + nchan',
    ports: [port],
    pids: [child.pid ?? 0],
    path: groups => (groups === 1 ? '/sub/00000' : '/sub/{}'),
    authorization: undefined,
    publish: wave => publish(port, wave),
    async stop() {
      const exit = once(child, 'exit')
      child.kill('SIGTERM')
      await exit
      await rm(folder, { recursive: true, force: true })
    },
  }
}

function configuration(folder: string, port: number, processes: number): string {
  return `load_module ${MODULE};
daemon off; worker_processes ${processes}; worker_rlimit_nofile 20000; pid ${folder}/pid; error_log stderr crit;
${process.getuid?.() === 0 ? 'user root;' : ''}
events { worker_connections 20000; }
http {
  access_log off; tcp_nodelay on; keepalive_requests 100000000; nchan_shared_memory_size 256M;
  client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy; fastcgi_temp_path ${folder}/fastcgi;
  uwsgi_temp_path ${folder}/uwsgi; scgi_temp_path ${folder}/scgi;
  server {
    listen 127.0.0.1:${port} backlog=4096${processes > 1 ? ' reuseport' : ''};
    location ~ /pub/(.*)$ { nchan_publisher http; nchan_channel_id $1; nchan_message_buffer_length 100; nchan_message_timeout 10s; }
    location ~ /sub/(.*)$ { nchan_subscriber eventsource; nchan_channel_id $1; nchan_subscriber_first_message newest; }
  }
}
`
}

async function publish(port: number, wave: Wave): Promise<void> {
  const child = fork(fileURLToPath(import.meta.url), [JSON.stringify({ port, wave })], { execArgv: ['--import', 'tsx'] })
  const [code] = (await once(child, 'exit')) as [number | null]
  if (code !== 0) throw new Error('the publisher was cut off')
}

/** Posts at a fixed rate on a few connections, without waiting for each answer; resolves when all are answered. */
async function post(port: number, { rate, total, groups }: Wave): Promise<void> {
  const sockets = Array.from({ length: CONNECTIONS }, () => connect({ port, host: '127.0.0.1', noDelay: true }))
  const packet = new EventPacket('default')
  const body = Buffer.alloc(packet.length)
  const startedUs = monotonicUs()
  let sent = 0
  let answered = 0
  const send = (socket: Socket) => {
    const device = (sent * 7919) % Math.max(groups, 100)
    packet.write(body, 0, 1, device, sent, monotonicUs())
    const channel = String(groups === 1 ? 0 : device).padStart(5, '0')
    socket.write(`POST /pub/${channel} HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${packet.length - packet.bodyAt}\r\n\r\n`)
    socket.write(body.subarray(packet.bodyAt))
    sent++
  }
  const timer = setInterval(() => {
    const due = Math.min(total, Math.floor(((monotonicUs() - startedUs) * rate) / 1e6))
    while (sent < due) send(sockets[sent % CONNECTIONS] as Socket)
  }, 1)
  await new Promise<void>((resolve, reject) => {
    for (const socket of sockets)
      socket.on('error', reject).on('data', chunk => {
        answered += chunk.toString('latin1').split('HTTP/1.1 20').length - 1
        if (answered >= total) resolve()
      })
  })
  clearInterval(timer)
  for (const socket of sockets) socket.destroy()
}

if (process.send && process.argv[1] === fileURLToPath(import.meta.url)) {
  const { port, wave } = JSON.parse(process.argv[2] ?? '{}') as { port: number; wave: Wave }
  await post(port, wave)
  process.disconnect()
}
