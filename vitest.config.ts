import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    globalSetup: ['test/setup.ts'],
    testTimeout: 20_000,
    hookTimeout: 60_000,
    // For two cores. Of a part's tests two thirds wait, for a time that was set or for a Redis; of those of the whole a third.
    projects: [
      {
        extends: true,
        test: {
          name: 'parts',
          include: ['packages/**/*.test.ts', 'services/**/*.test.ts'],
          // What a file imports is read once by each worker, not by each file: no module keeps state (test/architecture.test.ts).
          isolate: false,
          maxWorkers: 4,
          sequence: { groupOrder: 0 },
        },
      },
      { extends: true, test: { name: 'whole', include: ['test/**/*.test.ts'], maxWorkers: 3, sequence: { groupOrder: 1 } } },
    ],
  },
})
