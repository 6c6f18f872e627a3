// What the console reads and writes in Redis, each by the class that knows its keys.
import type { Redis } from 'ioredis'
import { Channels } from '../packages/state/channel.ts'
import { Connectors } from '../packages/state/connector.ts'
import { Credentials } from '../packages/state/credential.ts'
import type { Devices } from '../packages/state/device.ts'
import { DeviceLists } from '../packages/state/devicelist.ts'
import { History } from '../packages/state/history.ts'
import { Judgements } from '../packages/state/judgement.ts'
import { Outbox } from '../packages/state/outbox.ts'
import { Rules } from '../packages/state/rule.ts'
import { Shadows } from '../packages/state/shadow.ts'
import { Silences } from '../packages/state/silence.ts'

export function consoleState(redis: Redis, devices: Devices) {
  return {
    devices,
    credentials: new Credentials(redis),
    lists: new DeviceLists(redis, devices),
    history: new History(redis),
    outbox: new Outbox(redis),
    silences: new Silences(redis),
    rules: new Rules(redis),
    shadows: new Shadows(redis),
    judgements: new Judgements(redis),
    channels: new Channels(redis),
    connectors: new Connectors(redis),
  }
}
