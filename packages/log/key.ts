// Names of a project's keys in Redis. The braces keep all of one project in one Cluster slot, so that a script may touch several.

/** A project name holds none of `:{}` (core/event.ts checkProject), so keys of two projects never collide. */
export function projectKey(project: string, name: string): string {
  return `t:{${project}}:${name}`
}

export function stateKey(project: string, rule: string): string {
  return projectKey(project, `state:${rule}`)
}
