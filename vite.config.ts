// Bundles the server over what tsc wrote: from the 2,600 files in which npm keeps it, a start costs twice as much.
import { defineConfig } from 'vite'

/** What a thread runs is an entry too: then no chunk that it loads holds another entry, and each finds itself by `import.meta.url`. */
const ENTRIES = [
  'services/main',
  'services/thread',
  'services/gateway/http/zstd',
  'services/gateway/decode/sandboxthread',
  'packages/log/durable/schemathread',
]

/** They look for files of their own beside themselves, or for another package by a name made at run time. */
const APART = ['@duckdb/node-bindings', '@fastify/swagger-ui', '@jitl/quickjs-wasmfile-release-sync', 'pino', 'protobufjs']

/** Every start reads the maps whole, and a stack trace that leads into a library may name the bundle. */
const UNMAPPED = {
  name: 'unmapped',
  transform: { filter: { id: /node_modules/ }, handler: (code: string) => ({ code, map: { mappings: '' } }) },
}

export default defineConfig({
  plugins: [UNMAPPED],
  publicDir: false,
  ssr: { noExternal: true, external: APART },
  build: {
    ssr: true,
    outDir: 'dist',
    emptyOutDir: false,
    minify: false,
    sourcemap: true,
    target: 'node20',
    rolldownOptions: {
      input: Object.fromEntries(ENTRIES.map(name => [name, `${name}.ts`])),
      output: { entryFileNames: '[name].js', chunkFileNames: 'services/chunk/[name].js', sourcemapExcludeSources: true },
    },
  },
})
