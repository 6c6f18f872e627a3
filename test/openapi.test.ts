// The OpenAPI document: valid, and complete.
import { Validator } from '@seriousme/openapi-schema-validator'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Document, documentOf, type Operation, operationsOf } from './specification.ts'
import { removeDirectories, startTelltale, type Telltale } from './world.ts'

let telltale: Telltale
let document: Document
let operations: Operation[]
beforeAll(async () => {
  telltale = await startTelltale({ env: { TELLTALE_WEBHOOK_ALLOW_PRIVATE: 'true' } })
  document = await documentOf(telltale)
  operations = operationsOf(document)
}, 60_000)
afterAll(async () => {
  await telltale?.remove()
  await removeDirectories()
})

describe('the OpenAPI document', () => {
  it('is valid', async () => {
    const { valid, errors } = await new Validator().validate(structuredClone(document) as unknown as Record<string, unknown>)
    expect(errors ?? []).toEqual([])
    expect(valid).toBe(true)
  })

  it('says of every operation what it is for, once', () => {
    const ids = operations.map(({ operationId }) => operationId)
    expect(new Set(ids).size).toBe(ids.length)
    expect(ids).toEqual(expect.arrayContaining(['createEvents', 'listRules', 'listDevices', 'createToken']))
    expect(operations.filter(({ responses }) => !responses['200'] || !responses['default']).map(({ operationId }) => operationId)).toEqual(
      [],
    )
  })

  it('is shown as a page', async () => {
    const page = await telltale.http('/docs/')
    expect(page.status).toBe(200)
    expect(page.headers.get('content-security-policy')).toContain("script-src 'self'")
  })
})
