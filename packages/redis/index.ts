// Redis, as the rest of Telltale sees it: open the server, connect to it, understand its failures; and the data directory's lock.
export { findRedis, type RedisBinary } from './binary.ts'
export { type ConnectOptions, connectRedis, type Patience, type RedisClient } from './connection.ts'
export { type EmbeddedOptions, type EmbeddedRedis, startRedis } from './embedded.ts'
export { translate } from './failure.ts'
export { type DirectoryLock, lockDirectory } from './lock.ts'
export type { Log } from './log.ts'
export { type OpenOptions, type OpenRedis, openRedis } from './redis.ts'
export { describeTarget, parseRedisUrl, type RedisServers, type RedisTarget } from './target.ts'
