#!/usr/bin/env node
// The `telltale` command: runs the built CLI of this checkout.
import { existsSync } from 'node:fs'

const main = new URL('../../dist/packages/cli/main.js', import.meta.url)
if (!existsSync(main)) {
  console.error('telltale is not built yet: run `npm install` (or `npm run build`) in the checkout first')
  process.exit(1)
}
await import(main.href)
