// A program written for Macrometa, with its official client, pointed here: a process of its own, so that the client finds this machine by the
// name that it makes up, and trusts its certificate. Prints what it saw, as JSON.
import dns from 'node:dns'
import { once } from 'node:events'
import jsC8 from 'jsc8'

type Socket = NodeJS.EventEmitter & { send(text: string): void; close(): void }
type Client = Readonly<Record<string, (...args: unknown[]) => Promise<unknown>>>

const [host = '', keyId = '', secret = '', tenant = ''] = process.argv.slice(2)
const STREAM = 'jsc8'

/** The client puts `api-` before every host; who runs this for real has such a name in the DNS. */
const lookup = dns.lookup as (...args: unknown[]) => void
dns.lookup = ((name: string, ...rest: unknown[]) => lookup(name === 'api-localhost' ? 'localhost' : name, ...rest)) as typeof dns.lookup

const connect = jsC8 as unknown as { default: new (options: object) => Client }
const open = (options: object) => new connect.default({ url: `https://${host}`, fabricName: '_system', ...options })
const ask = (client: Client, name: string, ...args: unknown[]) => {
  const call = client[name]
  if (!call) throw new Error(`the client has no ${name}`)
  return call.call(client, ...args)
}
const refusal = (asked: Promise<unknown>) =>
  asked.then(
    () => 'nothing',
    (error: { name: string; statusCode: number; errorNum: number; message: string }) => ({
      name: error.name,
      status: error.statusCode,
      errorNum: error.errorNum,
    }),
  )
const message = async (socket: Socket) => JSON.parse(String(await once(socket, 'message'))) as Record<string, unknown>

const client = open({ apiKey: `${tenant}.${keyId}.${secret}` })
const seen: Record<string, unknown> = {}
seen['before'] = await ask(client, 'hasStream', STREAM, false)
seen['created'] = await ask(client, 'createStream', STREAM, false)
seen['again'] = await refusal(ask(client, 'createStream', STREAM, false))
await ask(client, 'createStream', STREAM, true)
seen['after'] = [await ask(client, 'hasStream', STREAM, false), await ask(client, 'hasStream', STREAM, true)]
const consumer = (await ask(client, 'createStreamReader', STREAM, 'sub', false, false, host)) as Socket
await once(consumer, 'open')
const producer = (await ask(client, 'createStreamProducer', STREAM, false, false, host)) as Socket
await once(producer, 'open')
producer.send(JSON.stringify({ payload: 'test', context: '5' }))
seen['produced'] = await message(producer)
seen['consumed'] = await message(consumer)
consumer.send(JSON.stringify({ messageId: (seen['consumed'] as { messageId: string }).messageId }))
const stream = (client as unknown as { stream(name: string, local: boolean): Client }).stream(STREAM, false)
seen['published'] = await ask(stream, 'publishMessage', 'Hello World')
seen['second'] = await message(consumer)
seen['subscriptions'] = await ask(client, 'getStreamSubscriptions', STREAM, false)
seen['stats'] = await ask(client, 'getStreamStats', STREAM, false)
seen['backlog'] = await ask(client, 'getStreamBacklog', STREAM, false)
await ask(client, 'clearStreamBacklog', 'sub')
await ask(client, 'clearStreamsBacklog')
seen['lifetime'] = [await ask(stream, 'setMessageTtl', 7200), await ask(stream, 'getMessageTtl')]
seen['expiry'] = await ask(stream, 'expireMessages', 3600)
for (const socket of [consumer, producer]) socket.close()
await Promise.all([consumer, producer].map(socket => once(socket, 'close')))
seen['unsubscribed'] = await ask(client, 'deleteStreamSubscription', STREAM, 'sub', false)
seen['unsubscribedAll'] = await ask(stream, 'deleteSubscription', 'sub')
seen['deleted'] = await ask(client, 'deleteStream', STREAM, true)
seen['deletedAgain'] = await refusal(ask(client, 'deleteStream', STREAM, true))
const second = open({})
seen['login'] = Object.keys((await ask(second, 'login', keyId, secret)) as object)
seen['asToken'] = await ask(second, 'hasStream', STREAM, true)
await ask(open({}), 'loginWithApiKey', `${tenant}.${keyId}.${secret}`)
process.stdout.write(JSON.stringify(seen))
process.exit(0)
