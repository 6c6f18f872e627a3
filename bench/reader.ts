// What reader.c does, for machines without a C compiler: the same arguments, the same words. It costs more than what it measures.
import { connect, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { Histogram } from './histogram.ts'
import { monotonicUs, sentTimes } from './wire.ts'

const [port, count, path = '', groups, frozen, authorization = '-'] = process.argv.slice(2)
const frames = new Float64Array(Number(count))
let histogram: Histogram | undefined
let framesBefore = 0
let open = 0
let next = 0

const total = () => frames.reduce((sum, one) => sum + one, 0)

function openNext(): void {
  if (next < Number(count)) read(next++)
}

function read(number: number): void {
  const socket = connect(Number(port), '127.0.0.1')
  const asked = path.replace('{}', String(number % Number(groups)).padStart(5, '0'))
  const login = authorization === '-' ? '' : `Authorization: ${authorization}\r\n`
  socket.write(`GET ${asked} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n${login}\r\n`)
  socket.once('data', head => {
    if (!head.toString('latin1').startsWith('HTTP/1.1 200')) throw new Error(head.toString('latin1', 0, 200))
    if (number < Number(frozen)) socket.pause()
    else follow(socket, number)
    if (++open === Number(count)) console.log('ready')
    openNext()
  })
  socket.on('error', error => {
    throw error
  })
}

function follow(socket: Socket, number: number): void {
  socket.on('data', chunk => {
    sentTimes(chunk, sentUs => {
      frames[number] = (frames[number] ?? 0) + 1
      histogram?.add(monotonicUs() - sentUs)
    })
  })
}

createInterface(process.stdin)
  .on('line', line => {
    if (line === 'begin') {
      histogram = new Histogram()
      framesBefore = total()
    }
    if (line === 'end') {
      const { p50Ms = 0, p99Ms = 0, maxMs = 0 } = histogram?.summary() ?? {}
      console.log(JSON.stringify({ frames: total() - framesBefore, p50Us: p50Ms * 1000, p99Us: p99Ms * 1000, maxUs: maxMs * 1000 }))
      histogram = undefined
    }
    if (line === 'total') console.log(JSON.stringify({ frames: total(), least: Math.min(...frames.subarray(Number(frozen))) }))
  })
  .on('close', () => process.exit(0))
for (let i = 0; i < 64; i++) openNext()
