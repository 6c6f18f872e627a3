// Redis, as the rest of Telltale sees it: open the server, connect to it, understand its failures; and the data directory's lock.
export { findRedis } from './binary.ts'
export { connectRedis, type Patience } from './connection.ts'
export { startRedis } from './embedded.ts'
export { translate } from './failure.ts'
export { lockDirectory } from './lock.ts'
export { openRedis } from './redis.ts'
export { parseRedisUrl, type RedisTarget } from './target.ts'
