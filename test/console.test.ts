// The page in a real browser: live, by keyboard, through a restart, and what devices are called stays text.
import { existsSync } from 'node:fs'
import { type Browser, chromium, type Locator, type Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { EVENTS, eventually, removeDirectories, startTelltale, type Telltale, temperature, until } from './world.ts'

const PROJECT = '/v2/projects/default'
const HOSTILE = '<img src=x onerror=alert(1)>'
const BROWSER = [process.env['CHROMIUM'], '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(
  path => path !== undefined && existsSync(path),
)
const QUIET = ['--disable-background-networking', '--no-first-run', '--disable-component-update', '--disable-sync']

/** Says so when the page is not tested, and fails the run when it is one of CI. */
function hasBrowser(): boolean {
  if (BROWSER !== undefined) return true
  const message = 'no Chromium (CHROMIUM=/path/to/it): the tests of the page are skipped (apt-get install chromium)'
  if (process.env['CI'] === 'true') throw new Error(message)
  console.warn(message)
  return false
}

describe.skipIf(!hasBrowser())('the console', () => {
  let telltale: Telltale
  let browser: Browser
  let page: Page
  const complaints: string[] = []
  const asked = new Set<string>()

  beforeAll(async () => {
    telltale = await startTelltale()
    const args = ['--headless=new', '--no-sandbox', '--disable-gpu', ...QUIET]
    browser = await chromium.launch({ executablePath: BROWSER ?? '', args })
    page = await browser.newPage({ viewport: { width: 1280, height: 900 }, colorScheme: 'light' })
    // Below the limit of a test, so that what was waited for is said.
    page.setDefaultTimeout(8000)
    page.on('console', message => {
      if (message.type() === 'error') complaints.push(`${message.text()} ${message.location().url}`)
    })
    page.on('pageerror', error => void complaints.push(`uncaught: ${error.message}`))
    page.on('dialog', dialog => {
      complaints.push(`dialog: ${dialog.message()}`)
      return dialog.dismiss()
    })
    page.on('request', request => void asked.add(new URL(request.url()).origin))
    await page.goto(telltale.url())
  })
  afterAll(async () => {
    await browser.close()
    await telltale.remove()
    await removeDirectories()
  })

  const row = (device: string) => page.locator(`tr[data-device="${device}"]`)
  const text = (locator: Locator, expected: string | RegExp) =>
    eventually(async () => expect(await locator.textContent()).toMatch(expected))
  const link = () => page.locator('[role=status][data-connection]').getAttribute('data-connection')

  async function reading(device: string, value: number): Promise<void> {
    const { status } = await telltale.send('POST', `${PROJECT}/devices/${device}:publish`, { temperature: { value } })
    expect(status).toBe(200)
  }

  test('a wrong secret is refused in words, the right one signs in and goes live', async () => {
    await page.getByLabel('Key id').fill(telltale.key.keyId)
    await page.getByLabel('Secret').fill('wrong')
    await page.getByRole('button', { name: 'Sign in' }).click()
    await text(page.getByRole('alert'), /^Not signed in: this key id and secret do not belong together/)
    await page.getByLabel('Secret').fill(telltale.key.secret)
    await page.keyboard.press('Enter')
    await eventually(async () => expect(await link()).toBe('live'))
    const [cookie] = await page.context().cookies()
    expect(cookie).toMatchObject({ httpOnly: true, sameSite: 'Strict' })
  })

  test('a device appears with its first event, and its value moves with the next', async () => {
    await reading('live', 21.5)
    await text(row('live').locator('td.value'), /21\.5/)
    await reading('live', 22.5)
    await text(row('live').locator('td.value'), /22\.5/)
    await text(row('live').locator('td.type'), /^temperature$/)
    await text(row('live').locator('td.age'), /\d/)
  })

  test('what a device is called, and what its labels say, is text and nothing else', async () => {
    const labels = { name: HOSTILE, room: '"><script>alert(2)</script>' }
    await telltale.send('PUT', `${PROJECT}/devices/hostile`, { type: 'temperature', labels })
    await reading('hostile', 1)
    await text(row('hostile').getByRole('button'), HOSTILE)
    await text(row('hostile').locator('td.labels'), /<script>alert\(2\)<\/script>/)
    expect(await page.locator('main img, main script').count()).toBe(0)
  })

  test('what an alarm says, with the unit, rule and device in it, is text and nothing else', async () => {
    const labels = { name: 'javascript:alert(3)', zone: '<a href="javascript:alert(4)">x</a>', logo: '<svg onload=alert(5)>' }
    await telltale.send('PUT', `${PROJECT}/devices/hostile-alarm`, { type: 'temperature', labels })
    const when = { threshold: { field: 'temperature.hostile', above: 90, unit: '<svg onload=alert(6)>' } }
    const message = `${HOSTILE} {{device.labels.name}} {{value}}`
    const { status } = await telltale.send('PUT', `${PROJECT}/rules/hostile`, { when, select: { devices: ['hostile-alarm'] }, message })
    expect(status).toBe(200)
    await telltale.send('POST', `${PROJECT}/devices/hostile-alarm:publish`, { temperature: { value: 91, hostile: 91 } })
    const alarm = page.locator('li[data-alarm]')
    await text(alarm.locator('.message'), HOSTILE)
    await text(alarm, /<svg onload=alert\(6\)>/)
    await text(alarm.getByRole('button').first(), 'javascript:alert(3)')
    await text(row('hostile-alarm').locator('td.labels'), /<a href="javascript:alert\(4\)">x<\/a>/)
    await alarm.getByRole('button').first().click()
    await text(page.locator('section.chart h2'), 'javascript:alert(3)')
    expect(await page.locator('main :is(img, script, svg, a:not(.button)), section.chart :is(img, script, svg, a)').count()).toBe(0)
    await page.keyboard.press('Escape')
    await telltale.http(`${PROJECT}/rules/hostile`, { method: 'DELETE' })
    await reading('hostile-alarm', 1)
    await eventually(async () => expect(await page.locator('li[data-alarm][data-state=active]').count()).toBe(0))
  })

  test('two devices of one name are told apart by their ids', async () => {
    const labels = { name: 'live' }
    await telltale.send('PUT', `${PROJECT}/devices/impostor`, { type: 'temperature', labels })
    await reading('impostor', 99)
    await text(row('impostor').getByRole('button'), /^live$/)
    await text(row('impostor').locator('.id'), /^impostor$/)
    expect(await row('live').locator('.id').count()).toBe(0)
    await telltale.send('PUT', `${PROJECT}/devices/impostor`, { type: 'temperature', labels: { name: 'elsewhere' } })
  })

  test('no page runs a script that is not a file of ours, and no answer is taken for something else', async () => {
    for (const path of ['/', `${PROJECT}/devices`, '/nowhere', `${PROJECT}/devices:stream?cursor=x`]) {
      const { headers } = await telltale.http(path)
      const policy = headers.get('content-security-policy') ?? ''
      expect(policy, path).toContain("script-src 'self'")
      expect(policy, path).toContain("style-src 'self'")
      expect(policy, path).not.toContain('unsafe')
      expect(headers.get('x-content-type-options'), path).toBe('nosniff')
    }
    const inline =
      "const s = document.createElement('script'); s.textContent = 'window.ran = true'; document.head.append(s); window.ran === true"
    expect(await page.evaluate(inline)).toBe(false)
    await eventually(() => expect(complaints.some(complaint => /Content Security Policy/.test(complaint))).toBe(true))
    complaints.length = 0
  })

  test('the filter leaves the devices that match', async () => {
    const filter = page.getByRole('searchbox', { name: 'Filter devices' })
    await filter.fill('live')
    await eventually(async () => expect(await page.locator('tr[data-device]').count()).toBe(1))
    await filter.fill('')
    await eventually(async () => expect(await page.locator('tr[data-device]').count()).toBe(4))
  })

  test('the chart opens and closes by keyboard, shows history and follows', async () => {
    const button = row('live').getByRole('button')
    await button.focus()
    await page.keyboard.press('Enter')
    const chart = page.locator('section.chart')
    await text(chart.locator('[data-value]'), /22\.5/)
    await eventually(async () => expect(await chart.locator('canvas').count()).toBeGreaterThan(0))
    await text(chart.locator('[data-readout]'), /\d/)
    await reading('live', 23.5)
    await text(chart.locator('[data-value]'), /23\.5/)
    await page.keyboard.press('Escape')
    await eventually(async () => expect(await chart.count()).toBe(0))
    expect(await button.evaluate(element => element === element.ownerDocument.activeElement)).toBe(true)
  })

  test('an alarm shows by itself and is acknowledged with a comment', async () => {
    const when = { threshold: { field: 'temperature.value', above: 30 } }
    await telltale.send('PUT', `${PROJECT}/rules/hot`, {
      when,
      select: { devices: ['live'] },
      severity: 'critical',
      message: 'too hot: {{value}}',
    })
    await reading('live', 31)
    const alarm = page.locator('li[data-alarm][data-state=active]')
    await text(alarm, /too hot: 31/)
    expect(await alarm.getAttribute('data-acknowledged')).toBe('false')
    await alarm.getByRole('button', { name: 'Acknowledge' }).click()
    await page.getByLabel('Comment (optional)').fill(HOSTILE)
    await page.getByRole('button', { name: 'Confirm' }).click()
    await eventually(async () => expect(await alarm.getAttribute('data-acknowledged')).toBe('true'))
    await text(alarm, /Acknowledged by admin@localhost/)
    const { json } = await telltale.http(`${PROJECT}/alarms?state=active`)
    expect(json['alarms']).toMatchObject([{ acknowledgement: { comment: HOSTILE } }])
    expect(await page.title()).toBe('(1) Telltale')
  })

  test('the server is restarted while the page is open: it says so, comes back by itself and shows what it missed', async () => {
    await telltale.stop()
    await eventually(async () => expect(await link()).toBe('reconnecting'))
    await telltale.restart()
    await reading('live', 20.25)
    await reading('newcomer', 19.75)
    await eventually(async () => expect(await link()).toBe('live'), 20_000)
    await text(row('live').locator('td.value'), /20\.25/)
    await text(row('newcomer').locator('td.value'), /19\.75/)
    await eventually(async () => expect(await page.locator('li[data-alarm][data-state=active]').count()).toBe(0))
    // What a browser itself says of a connection that is gone.
    for (const complaint of complaints.splice(0))
      expect(complaint).toMatch(/net::ERR_(CONNECTION|INCOMPLETE|EMPTY)|401 .*\/console\/session/)
  }, 40_000)

  test.each(['light', 'dark'] as const)('in %s it is readable, also on a narrow screen', async scheme => {
    await page.emulateMedia({ colorScheme: scheme })
    await page.setViewportSize({ width: 375, height: 700 })
    const colours = await row('live').evaluate(element => {
      const view = element.ownerDocument.defaultView
      const { body } = element.ownerDocument
      return { text: view?.getComputedStyle(element).color ?? '', page: view?.getComputedStyle(body).backgroundColor ?? '' }
    })
    const [ink, paper] = [brightness(colours.text), brightness(colours.page)]
    expect(Math.abs(ink - paper), JSON.stringify(colours)).toBeGreaterThan(0.5)
    expect(paper > ink).toBe(scheme === 'light')
    const overflow = await page.evaluate('document.documentElement.scrollWidth - innerWidth')
    expect(overflow).toBeLessThanOrEqual(0)
  })

  test('of a large project it has a part, says so, and finds the others on the server', async () => {
    await page.setViewportSize({ width: 1280, height: 900 })
    const id = (n: number) => `z${String(n).padStart(4, '0')}`
    const events = Array.from({ length: 1200 }, (_, n) => JSON.stringify(temperature(id(n), n)))
    for (const part of [events.slice(0, 1000), events.slice(1000)])
      expect(
        (await telltale.http(EVENTS, { method: 'POST', body: part.join('\n'), headers: { 'content-type': 'application/x-ndjson' } }))
          .status,
      ).toBe(200)
    await text(page.locator('p.part'), /^The first 1,000 devices are loaded/)
    await text(page.locator('[data-shown]'), /^showing 200 of 1,000 that are loaded$/)
    // Last values follow their events within a second or so.
    await until('the last value is known', async () => {
      const { json } = await telltale.http(`/v2/projects/default/devices/${id(1199)}`)
      return Object.keys(json['reported'] as object).length > 0
    })
    const filter = page.getByRole('searchbox', { name: 'Filter devices' })
    await filter.fill(id(1199))
    await text(row(id(1199)).locator('td.value'), /1,199/)
    await text(page.locator('p.part'), /^All devices were searched\.$/)
    await reading(id(1199), 1200)
    await text(row(id(1199)).locator('td.value'), /1,200/)
    await filter.fill('')
    await text(page.locator('[data-shown]'), /^showing 200 of 1,000 that are loaded$/)
    expect(await row('live').count()).toBe(1)
  })

  const field = (path: string) => page.locator(`[data-field="${path}"]`)

  test('a rule is made in the form, is the same as YAML, and what is wrong with it is said at its line', async () => {
    await page.setViewportSize({ width: 1280, height: 900 })
    await telltale.send('PUT', `${PROJECT}/devices/vaccine`, { type: 'temperature', labels: { name: HOSTILE, zone: 'cold' } })
    const spoilt = (minutes: number) => (minutes > 20 && minutes <= 40 ? -9 : -18)
    const past = Array.from({ length: 60 }, (_, n) => ({
      ...temperature('vaccine', spoilt(60 - n)),
      timestamp: new Date(Date.now() - (60 - n) * 60_000).toISOString(),
    }))
    const body = past.map(event => JSON.stringify(event)).join('\n')
    expect((await telltale.http(EVENTS, { method: 'POST', body, headers: { 'content-type': 'application/x-ndjson' } })).status).toBe(200)
    await page.getByRole('link', { name: 'Rules' }).click()
    await page.getByRole('link', { name: 'New rule' }).click()
    await field('name').fill('vaccine-warm')
    await field('when.threshold.field').fill('temperature.value')
    await field('when.threshold.above').fill('-15')
    await field('when.threshold.clearBelow').fill('-10')
    await text(page.locator('[data-problem]'), /^when\.threshold\.clearBelow: expected at most above/)
    expect(await field('when.threshold.clearBelow').getAttribute('aria-invalid')).toBe('true')
    await field('when.threshold.clearBelow').fill('-16.5')
    await field('select.devices').fill('vaccine')
    await page.keyboard.press('Enter')
    await field('severity').selectOption('critical')
    await field('message').fill('{{device.labels.name}} is {{value}}')
    await page.getByRole('button', { name: 'YAML' }).click()
    const yaml = page.getByLabel('Rule as YAML')
    await eventually(async () => expect(await yaml.inputValue()).toMatch(/^name: vaccine-warm\n[\s\S]*clearBelow: -16\.5/))
    const good = await yaml.inputValue()
    await yaml.fill(good.replace('clearBelow', 'clearBellow'))
    const line = good.split('\n').findIndex(one => one.includes('clearBelow')) + 1
    await text(page.locator(`[data-problem-line="${line}"]`), /^line \d+, column \d+: .*did you mean "clearBelow"\?/)
    await text(page.locator('.gutter .wrong'), new RegExp(`^${line}$`))
    await page.getByRole('button', { name: 'Form' }).click()
    await text(page.locator('.tabs [role=alert]'), /mend the YAML first/)
    await yaml.fill(good)
    await page.getByRole('button', { name: 'Form' }).click()
    await eventually(async () => expect(await field('when.threshold.clearBelow').inputValue()).toBe('-16.5'))
  })

  test('what it would have done is drawn over the history of a device, and it is saved', async () => {
    await text(page.locator('[data-trial]'), /^It would have been: 1 alarm, 20 minutes in alarm/)
    expect(await page.locator('.trial canvas').count()).toBe(1)
    await page.getByRole('button', { name: /^Try on all its devices/ }).click()
    await text(page.locator('.all-devices [role=status]'), /^1 alarm, /)
    expect(await page.locator('main :is(img, script, svg)').count()).toBe(0)
    await page.getByRole('button', { name: 'Create rule' }).click()
    await text(page.locator('h2#rule'), /^vaccine-warm$/)
    await page.getByRole('button', { name: 'Explain' }).click()
    await text(page.locator('[data-explanation]'), /temperature\.value/)
    const { json } = await telltale.http(`${PROJECT}/rules/vaccine-warm`)
    expect(json).toMatchObject({ version: 1, severity: 'critical', when: { threshold: { above: -15, clearBelow: -16.5 } } })
  })

  test('its alarm is acknowledged on a page of its own, which says why it is and what has happened', async () => {
    await reading('vaccine', -9.5)
    await page.getByRole('link', { name: 'Alarms' }).click()
    const alarm = page.locator('li[data-alarm]').filter({ hasText: 'vaccine-warm' })
    await text(alarm.locator('.message'), `${HOSTILE} is -9.5`)
    await alarm.getByRole('link', { name: /^Details/ }).click()
    await text(page.locator('h2#alarm'), `${HOSTILE} is -9.5`)
    await text(page.locator('[data-alarm-state]'), /^active$/)
    await text(page.locator('[data-reason]'), /temperature\.value -9\.5 is above -15/)
    await text(page.locator('[data-fact=Rule]'), /^vaccine-warm, version 1$/)
    await page.getByRole('button', { name: 'Acknowledge' }).click()
    await page.getByLabel('Comment (optional)').fill(HOSTILE)
    await page.getByRole('button', { name: 'Confirm' }).click()
    await text(page.locator('[data-fact=Acknowledged]'), /^by admin@localhost/)
    await text(page.locator('[data-record=acknowledged]'), /acknowledged by admin@localhost/)
    await text(page.locator('[data-record=active]'), /became active.*temperature\.value -9\.5 is above -15/)
    expect(await page.locator('main :is(img, script, svg)').count()).toBe(0)
    await page.setViewportSize({ width: 375, height: 700 })
    expect(await page.evaluate('document.documentElement.scrollWidth - innerWidth')).toBeLessThanOrEqual(0)
    await page.setViewportSize({ width: 1280, height: 900 })
  })

  test('a rule is deleted after the question whether channels are told', async () => {
    await page.getByRole('link', { name: 'Rules' }).click()
    const rule = page.locator('tr[data-rule=vaccine-warm]')
    await text(rule.locator('.condition-words'), /^temperature\.value above -15/)
    await text(rule.locator('[data-active]'), /^1$/)
    await rule.getByRole('link', { name: 'vaccine-warm' }).click()
    await page.getByRole('button', { name: 'Delete', exact: true }).click()
    await page.getByLabel('Tell its channels').check()
    await page.getByRole('button', { name: 'Delete it' }).click()
    await page.getByRole('heading', { name: 'Rules' }).waitFor()
    await eventually(async () => expect(await rule.count()).toBe(0))
    await page.getByRole('link', { name: 'Devices' }).click()
  })

  const stream = (name: string) => page.locator(`tr[data-stream=${JSON.stringify(name)}]`)
  const subscription = () => page.locator('tr[data-subscription=historian]')
  const message = (seq: number) => page.locator(`li[data-message="${seq}"]`)

  test('streams: that of the devices at first, and what to do; one is made there, and has a page of its own', async () => {
    await page.getByRole('link', { name: 'Streams' }).click()
    await text(page.locator('section.streams [data-shown]'), /^1$/)
    await text(stream('devices'), /what the devices of the project send/)
    await text(page.locator('section.streams pre'), /curl -u/)
    await page.getByLabel('New stream').fill('plant//3')
    await page.getByRole('button', { name: 'Create' }).click()
    await text(page.locator('section.streams [role=alert]'), /^Not created: name: expected/)
    await eventually(() => expect(complaints.splice(0)).toEqual([expect.stringMatching(/400 .*\/streams$/)]))
    await page.getByLabel('New stream').fill('plant/line 3')
    await page.getByRole('button', { name: 'Create' }).click()
    await text(page.locator('h2#stream'), /^plant\/line 3$/)
    await text(page.locator('section.messages [data-shown]'), /^none$/)
    expect(new URL(page.url()).hash).toBe('#/streams/plant%2Fline%203')
  })

  test('a message is appended by hand, those of others come by themselves, and all of them are text', async () => {
    await page.getByText('Append a message', { exact: true }).click()
    await page.getByLabel('Payload').fill(HOSTILE)
    await page.getByLabel(/^Key/).fill('<b>k</b>')
    await page.getByLabel(/^Properties/).fill(`unit=C\nhtml=${HOSTILE}`)
    await page.getByRole('button', { name: 'Append' }).click()
    await text(page.getByRole('status').last(), /^Appended at place 1\.$/)
    await text(message(1).locator('.preview'), HOSTILE)
    const others = [{ json: { celsius: 4.65 } }, { payload: 'AAECA/8=' }]
    expect((await telltale.send('POST', `${PROJECT}/streams/plant%2Fline%203/messages`, { messages: others })).status).toBe(200)
    await text(message(3).locator('.preview'), /^00 01 02 03 ff$/)
    await message(2).locator('summary').click()
    await text(message(2).locator('pre'), /^\{\n {2}"celsius": 4\.65\n\}$/)
    await message(2).getByRole('button', { name: 'hex' }).click()
    await text(message(2).locator('pre'), /^000000 {2}7b 22 63/)
    await message(1).locator('summary').click()
    await text(message(1).locator('dl'), HOSTILE)
    expect(await page.locator('main :is(img, script, svg, b)').count()).toBe(0)
  })

  test('a subscription shows how far behind it is, and is reset after a question', async () => {
    const path = `${PROJECT}/streams/plant%2Fline%203/subscriptions`
    await telltale.send('POST', path, { name: 'historian', type: 'failover' })
    await text(subscription().locator('[data-backlog]'), /^3$/)
    await subscription().getByRole('button', { name: 'Reset' }).click()
    await page.getByLabel(/^Reset historian to/).selectOption('latest')
    expect(await subscription().locator('[data-backlog]').textContent()).toBe('3')
    await page.getByRole('button', { name: 'Reset it' }).click()
    await text(subscription().locator('[data-backlog]'), /^0$/)
    expect((await telltale.http(`${path}/historian`)).json).toMatchObject({ stats: { backlogCount: 0 } })
  })

  test('the table of streams follows, and a stream that is gone says so', async () => {
    await telltale.send('POST', `${PROJECT}/streams/plant%2Fline%203/messages`, { text: 'four' })
    await page.getByRole('link', { name: 'All streams' }).click()
    await text(stream('plant/line 3'), /4.*1/)
    const long = 'x'.repeat(255)
    await telltale.send('POST', `${PROJECT}/streams`, { name: long })
    const link = stream(long).getByRole('link')
    await text(link, long)
    expect(await link.getAttribute('title')).toBe(long)
    const heights = await Promise.all(
      [link, stream('plant/line 3').getByRole('link')].map(async one => (await one.boundingBox())?.height ?? 0),
    )
    expect(heights[0]).toBeLessThan(3 * (heights[1] ?? 0))
    expect((await telltale.http(`${PROJECT}/streams/${long}`, { method: 'DELETE' })).status).toBe(200)
    await stream('plant/line 3').getByRole('link').click()
    await text(message(4).locator('.preview'), /^four$/)
    await page.setViewportSize({ width: 375, height: 700 })
    expect(await page.evaluate('document.documentElement.scrollWidth - innerWidth')).toBeLessThanOrEqual(0)
    await telltale.http(`${PROJECT}/streams/plant%2Fline%203`, { method: 'DELETE' })
    await text(page.locator('section.stream [role=alert]'), /^There is no such stream, or no more\.$/)
    await page.goBack()
    await text(page.locator('section.streams [data-shown]'), /^1$/)
  })

  test('the browser complains of nothing, and talks to nobody else', () => {
    // But that a stream was gone which it had been asked to show.
    expect(complaints.filter(complaint => !/404 .*\/streams\/plant/.test(complaint))).toEqual([])
    expect([...asked]).toEqual([telltale.url()])
  })
})

/** 0 to 1, of `rgb(r, g, b)`. */
function brightness(colour: string): number {
  const [red = 0, green = 0, blue = 0] = (colour.match(/[\d.]+/g) ?? []).map(Number)
  return (0.299 * red + 0.587 * green + 0.114 * blue) / 255
}
