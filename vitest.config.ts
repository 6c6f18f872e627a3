import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    globalSetup: ['test/setup.ts'],
    testTimeout: 20_000,
    hookTimeout: 60_000,
    // On two cores: a third of the tests wait, for a time that was set or for a server that comes.
    maxWorkers: 3,
    projects: [
      // What a file imports is read once by each worker, not by each file: no module keeps state (test/architecture.test.ts).
      { extends: true, test: { name: 'parts', include: ['packages/**/*.test.ts', 'services/**/*.test.ts'], isolate: false } },
      { extends: true, test: { name: 'whole', include: ['test/**/*.test.ts'] } },
    ],
  },
})
