// Settings: their defaults, and every mistake at once.
import { describe, expect, it } from 'vitest'
import { Failure } from '../packages/core/failure.ts'
import { parseConfig, SETTINGS } from './config.ts'

function problems(env: Record<string, string>, ...args: string[]): string[] {
  try {
    parseConfig(env, args)
  } catch (error) {
    if (error instanceof Failure && error.code === 'setup') return error.message.split('\n')
    throw error
  }
  return []
}

describe('settings', () => {
  it('have defaults with which a first start works', () => {
    const config = parseConfig({ PATH: '/bin', HOME: '/root' }, [])
    expect(config).toMatchObject({
      host: '127.0.0.1',
      httpPort: 8080,
      mqttPort: 1883,
      dataDir: './data',
      redisUrl: undefined,
      influx: undefined,
      project: 'default',
      region: 'local',
      advertise: undefined,
      capacity: 10_000,
      red5: { open: 'first' },
      allowPrivate: [],
      partitions: 4,
      retentionMs: 0,
      logRetentionMs: 86_400_000,
      alarmHistoryMs: 400 * 86_400_000,
      logMaxBytes: 256 * 1024 ** 2,
      streamMaxAgeMs: 3_600_000,
      streamPatienceMs: 10_000,
      labelFilters: 'all',
      requestTimeoutMs: 28_000,
      fsync: 'always',
      logLevel: 'info',
    })
    expect([...config.roles]).toEqual(['gateway', 'worker', 'stream', 'console'])
    expect(Object.isFrozen(config)).toBe(true)
  })

  it('are named once each, with a meaning', () => {
    expect(new Set(SETTINGS.map(({ name }) => name)).size).toBe(SETTINGS.length)
    for (const { name, meaning } of SETTINGS)
      expect([name, meaning]).toEqual([expect.stringMatching(/^TELLTALE_[A-Z0-9_]+$/), expect.stringMatching(/.{5}/)])
  })

  it('that are empty or blank are as if not set', () => {
    expect(parseConfig({ TELLTALE_HTTP_PORT: '', TELLTALE_PROJECT: '  ' }, [])).toMatchObject({ httpPort: 8080, project: 'default' })
  })

  it('may have white space around them', () => {
    expect(parseConfig({ TELLTALE_HTTP_PORT: ' 9000\n' }, []).httpPort).toBe(9000)
  })

  it('are all read', () => {
    const config = parseConfig(
      {
        TELLTALE_HOST: '::',
        TELLTALE_MQTT_PORT: '0',
        TELLTALE_REDIS_URL: 'redis://r:6379',
        TELLTALE_REDIS_MAX_MEMORY: '2GB',
        TELLTALE_INFLUX_URL: 'http://i:8086',
        TELLTALE_INFLUX_DATABASE: 'db',
        TELLTALE_ADMIN_SECRET: 's'.repeat(16),
        TELLTALE_SECRET_KEY: 'k'.repeat(32),
        TELLTALE_WEBHOOK_ALLOW_PRIVATE: '10.0.0.0/8',
        TELLTALE_RETENTION: '90d',
        TELLTALE_LOG_RETENTION: '1.5h',
        TELLTALE_ALARM_HISTORY: '1d',
        TELLTALE_LABEL_FILTERS: 'any',
        TELLTALE_FSYNC: 'everysec',
        TELLTALE_KEY_ID: 'for the command line',
      },
      ['worker', 'gateway', 'worker'],
    )
    expect(config).toMatchObject({
      redisMaxBytes: 2 * 1024 ** 3,
      influx: { url: 'http://i:8086', database: 'db', token: undefined },
      allowPrivate: ['10.0.0.0/8'],
      retentionMs: 90 * 86_400_000,
      logRetentionMs: 5_400_000,
      alarmHistoryMs: 86_400_000,
      labelFilters: 'any',
    })
    expect([...config.roles]).toEqual(['gateway', 'worker'])
  })

  it('say how others reach this process, and who sees its live streams', () => {
    const read = (advertise: string) => parseConfig({ TELLTALE_ADVERTISE: advertise }, []).advertise
    expect(['10.0.4.11', 'edge-1.example.com:8080', '::1', '[::1]:80'].map(read)).toEqual([
      '10.0.4.11',
      'edge-1.example.com:8080',
      '[::1]',
      '[::1]:80',
    ])
    for (const wrong of ['http://a', 'a:0', 'a:99999', 'a b', '[1.2.3.4]', 'a/b'])
      expect(problems({ TELLTALE_ADVERTISE: wrong })).toHaveLength(1)
    const shown = (red5: string) => parseConfig({ TELLTALE_RED5: red5 }, []).red5
    expect(['', 'key', 'open', 'off', 'a, b'].map(shown)).toEqual([
      { open: 'first' },
      { open: [] },
      { open: 'all' },
      undefined,
      { open: ['a', 'b'] },
    ])
    const wrong: Record<string, string>[] = [{ TELLTALE_RED5: 'a,,b' }, { TELLTALE_REGION: 'eu north' }, { TELLTALE_CAPACITY: '0' }]
    for (const env of wrong) expect(problems(env)).toHaveLength(1)
  })

  it('that nobody knows are taken for one that is near, and for no other', () => {
    const told = (name: string) => problems({ [name]: '1' }).join()
    expect(told('TELLTALE_HTP_PORT')).toBe('TELLTALE_HTP_PORT: unknown setting; did you mean TELLTALE_HTTP_PORT?')
    expect(told('TELLTALE_REDIS')).toContain('did you mean TELLTALE_REDIS_')
    for (const name of ['TELLTALE_BOGUS', 'TELLTALE_X', 'TELLTALE_']) expect(told(name)).toBe(`${name}: unknown setting`)
  })

  it.each(['http://x', 'x:6379', 'redis://', 'redis://h:99999', 'redis://h:6379,http://i', 'redis://h/x'])(
    'for Redis are told with the others when they are wrong: %s',
    url => {
      const told = problems({ TELLTALE_REDIS_URL: url, TELLTALE_HTTP_PORT: 'x', TELLTALE_SECRET_KEY: 'k'.repeat(32) })
      expect(told).toEqual([
        expect.stringMatching(/^TELLTALE_HTTP_PORT: /),
        expect.stringMatching(/^TELLTALE_REDIS_URL .*\. Expected redis:\/\/user:password@host:6379/),
      ])
    },
  )

  it('tell all mistakes at once', () => {
    expect(
      problems(
        {
          TELLTALE_HTTP_PORT: 'x',
          TELLTALE_MQTT_PORT: '70000',
          TELLTALE_PARTITIONS: '0',
          TELLTALE_RETENTION: '90',
          TELLTALE_LOG_MAX_SIZE: '1tb',
          TELLTALE_FSYNC: 'never',
          TELLTALE_STREAM_PATIENCE: '0s',
          TELLTALE_LABEL_FILTERS: 'some',
          TELLTALE_PROJECT: 'A',
          TELLTALE_WEBHOOK_ALLOW_PRIVATE: 'yes',
          TELLTALE_HTP_PORT: '1',
        },
        'wroker',
      ),
    ).toEqual([
      'TELLTALE_HTP_PORT: unknown setting; did you mean TELLTALE_HTTP_PORT?',
      'role wroker: expected some of gateway, worker, stream, console, or none for all',
      'TELLTALE_HTTP_PORT: expected a whole number from 0 to 65535, got "x"',
      'TELLTALE_MQTT_PORT: expected a whole number from 0 to 65535, got "70000"',
      'TELLTALE_PROJECT: expected 1 to 63 of a-z 0-9 _ - that start with a letter or digit',
      'TELLTALE_WEBHOOK_ALLOW_PRIVATE: expected true, false or networks such as 10.0.0.0/8, got yes',
      'TELLTALE_PARTITIONS: expected a whole number from 1 to 64, got "0"',
      'TELLTALE_RETENTION: expected a duration such as 90s, 5m, 24h or 30d, got "90"',
      'TELLTALE_LOG_MAX_SIZE: expected a size such as 512mb or 2gb, got "1tb"',
      'TELLTALE_STREAM_PATIENCE: expected a duration from 1s to 1h, got "0s"',
      'TELLTALE_LABEL_FILTERS: expected all, any, got "some"',
      'TELLTALE_FSYNC: expected always, everysec, got "never"',
    ])
  })

  it.each([
    ['TELLTALE_ADMIN_SECRET', 'short'],
    ['TELLTALE_SECRET_KEY', 'too short a key'],
  ])('never show what %s is', (name, value) => {
    expect(problems({ [name]: value })).toEqual([expect.stringContaining(name)])
    expect(problems({ [name]: value })[0]).not.toContain(value)
  })

  it.each([
    ['TELLTALE_PARTITION', 'TELLTALE_PARTITIONS'],
    ['TELLTALE_REDISURL', 'TELLTALE_REDIS_URL'],
    ['TELLTALE_LOGLEVEL', 'TELLTALE_LOG_LEVEL'],
    ['TELLTALE_INFLUX_DB', 'TELLTALE_INFLUX_DATABASE'],
  ])('know what %s was meant to be', (wrong, right) => {
    expect(problems({ [wrong]: '1' })).toEqual([`${wrong}: unknown setting; did you mean ${right}?`])
  })

  it('of HTTPS belong together', () => {
    expect(problems({ TELLTALE_HTTPS_PORT: '8443' })).toEqual([
      'TELLTALE_TLS_CERT: HTTPS needs it; set it to the name of a PEM file',
      'TELLTALE_TLS_KEY: HTTPS needs it; set it to the name of a PEM file',
    ])
    expect(problems({ TELLTALE_TLS_CERT: 'x.pem' })).toEqual([
      expect.stringMatching(/^TELLTALE_HTTPS_PORT: nothing uses TELLTALE_TLS_CERT/),
    ])
  })

  it('that contradict each other are refused', () => {
    expect(problems({}, 'gateway')).toEqual([
      expect.stringMatching(/^TELLTALE_REDIS_URL: several/),
      expect.stringMatching(/^TELLTALE_INFLUX_URL: DuckDB/),
    ])
    expect(problems({ TELLTALE_REDIS_URL: 'redis://x' })).toEqual([expect.stringMatching(/^TELLTALE_SECRET_KEY: processes on a shared/)])
    expect(problems({ TELLTALE_INFLUX_URL: 'localhost:8086' })).toEqual([expect.stringMatching(/^TELLTALE_INFLUX_URL: expected a URL/)])
  })

  it.each([
    ['TELLTALE_ADMIN_SECRET', 'changeme-changeme'],
    ['TELLTALE_ADMIN_SECRET', 'adminadminadminadmin'],
    ['TELLTALE_SECRET_KEY', 'x'.repeat(40)],
    ['TELLTALE_SECRET_KEY', 'please-change-this-secret-key-in-production'],
  ])('in production hold no %s such as %s that others could guess', (name, value) => {
    const open = { NODE_ENV: 'production', TELLTALE_HOST: '0.0.0.0', [name]: value }
    const [problem, ...others] = problems(open)
    expect([problem, others]).toEqual([expect.stringMatching(new RegExp(`^${name}: (.+); set it to random characters`)), []])
    expect(problem).not.toContain(value)
    // On loopback it is behind a proxy.
    for (const host of ['127.0.0.1', '::1', 'localhost']) expect(problems({ ...open, TELLTALE_HOST: host })).toEqual([problem])
    expect(problems({ ...open, NODE_ENV: 'development' })).toEqual([])
    expect(problems({ ...open, [name]: 'Zm9vYmFyIGJhegaS4uJ0q9vT2rK8wQ1xL5nB7cD3e' })).toEqual([])
  })

  it.each([
    ['', undefined],
    ['https://telltale.example.com', 'https://telltale.example.com'],
    ['https://Telltale.example.com:8443/', 'https://telltale.example.com:8443'],
    ['http://10.0.0.1/sensors/', 'http://10.0.0.1/sensors'],
  ])('take %j as the address for people outside', (text, url) => {
    expect(parseConfig({ TELLTALE_PUBLIC_URL: text }, []).publicUrl).toBe(url)
  })

  it.each(['telltale.example.com', 'ftp://a', 'https://', 'https://a?b', 'https://a#b', 'https://user:secret@a', 'x'])(
    'do not take %j for one',
    text => {
      expect(problems({ TELLTALE_PUBLIC_URL: text })).toEqual([expect.stringMatching(/^TELLTALE_PUBLIC_URL: expected a URL such as/)])
    },
  )

  it('takes the networks of proxies that are believed', () => {
    expect(parseConfig({ TELLTALE_TRUSTED_PROXIES: '10.0.0.0/8, fd00::/8,127.0.0.1' }, []).trustedProxies).toEqual([
      '10.0.0.0/8',
      'fd00::/8',
      '127.0.0.1',
    ])
    for (const text of ['nginx', '10.0.0.0/33', '10.0.0.0/8/8', '*'])
      expect(problems({ TELLTALE_TRUSTED_PROXIES: text })).toEqual([
        expect.stringMatching(/^TELLTALE_TRUSTED_PROXIES: expected addresses or networks such as/),
      ])
  })

  it('take the audiences of tokens as a list', () => {
    expect(parseConfig({}, []).tokenAudiences).toEqual(['https://identity.disruptive-technologies.com/oauth2/token'])
    expect(parseConfig({ TELLTALE_TOKEN_AUDIENCES: 'https://a/token, https://b/token' }, []).tokenAudiences).toEqual([
      'https://a/token',
      'https://b/token',
    ])
  })
})
