// Settings that are right each by itself and wrong together, and secrets that anybody can guess.
import { weaknessOf } from '../packages/identity/weakness.ts'
import type { Config, Role } from './config.ts'

/** Settings that are right each by itself and wrong together. */
export function contradictions(config: Config, all: readonly Role[]): string[] {
  const { roles, redisUrl, influx: store, secretKey, host } = config
  const problems: string[] = []
  if (roles.size < all.length && redisUrl === undefined)
    problems.push(`TELLTALE_REDIS_URL: several processes share one Redis; set it, or start all roles in one process (${all.join(' ')})`)
  if (roles.size < all.length && store === undefined)
    problems.push('TELLTALE_INFLUX_URL: DuckDB belongs to one process; set it, or start all roles in one process')
  if (redisUrl !== undefined && secretKey === undefined)
    problems.push(
      'TELLTALE_SECRET_KEY: processes on a shared Redis need the same one; set it to 32 or more random characters, such as those of `openssl rand -base64 32`',
    )
  problems.push(...certificateProblems(config))
  if (host === '') problems.push('TELLTALE_HOST: expected an address such as 127.0.0.1 or 0.0.0.0')
  return problems
}

function certificateProblems({ httpsPort, mqttsPort, tls }: Config): string[] {
  const used = httpsPort !== undefined ? 'HTTPS' : 'MQTT over TLS'
  const isUsed = httpsPort !== undefined || mqttsPort !== undefined
  const needed = { TELLTALE_TLS_CERT: tls.cert, TELLTALE_TLS_KEY: tls.key }
  if (isUsed)
    return Object.entries(needed).flatMap(([name, path]) =>
      path === '' ? [`${name}: ${used} needs it; set it to the name of a PEM file`] : [],
    )
  return Object.entries({ ...needed, TELLTALE_TLS_CA: tls.ca }).flatMap(([name, path]) =>
    path === '' ? [] : [`TELLTALE_HTTPS_PORT: nothing uses ${name} without it or TELLTALE_MQTTS_PORT; set one of them, or unset it`],
  )
}

/** Anybody can guess it (hazard 19). On loopback too: in production a proxy stands before it. */
export function exposures({ admin, secretKey }: Config): string[] {
  const chosen = { TELLTALE_ADMIN_SECRET: admin.secret, TELLTALE_SECRET_KEY: secretKey }
  return Object.entries(chosen).flatMap(([name, secret]) => {
    const weakness = secret === undefined ? undefined : weaknessOf(secret)
    return weakness === undefined ? [] : [`${name}: ${weakness}; set it to random characters, such as those of \`openssl rand -base64 32\``]
  })
}
