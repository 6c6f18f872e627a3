// A part of a benchmark as a process of its own: it is asked, works, and answers.
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

export class Child<Question, Answer> {
  readonly #child: ChildProcess
  readonly #gone: Promise<never>

  private constructor(name: string, child: ChildProcess) {
    this.#child = child
    this.#gone = once(child, 'exit').then(([code]) => {
      throw new Error(`${name} ended with ${code}`)
    })
    // Who asks hears of it.
    this.#gone.catch((error: Error) => error)
  }

  /** @param module in this folder, which calls `answer`. Resolves when it is ready. */
  static async open<Question, Answer>(module: string, options: unknown): Promise<Child<Question, Answer>> {
    const child = fork(fileURLToPath(new URL(module, import.meta.url)), [JSON.stringify(options)], { execArgv: ['--import', 'tsx'] })
    const opened = new Child<Question, Answer>(module, child)
    await Promise.race([once(child, 'message'), opened.#gone])
    return opened
  }

  async ask(question: Question): Promise<Answer> {
    const answered = once(this.#child, 'message')
    this.#child.send(question as object)
    const [answer] = (await Promise.race([answered, this.#gone])) as [Answer]
    return answer
  }

  async close(): Promise<void> {
    const { exitCode, signalCode } = this.#child
    if (exitCode !== null || signalCode !== null) return
    const exit = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await exit
  }
}

/** In the child: prepares, says that it is ready, then answers one question after the other. Does nothing in any other process. */
export async function answer<Options, Question>(
  url: string,
  prepare: (options: Options) => Promise<(question: Question) => Promise<unknown>>,
): Promise<void> {
  if (!process.send || process.argv[1] !== fileURLToPath(url)) return
  const work = await prepare(JSON.parse(process.argv[2] ?? '{}') as Options)
  process.on('message', question => {
    work(question as Question).then(
      result => process.send?.(result),
      (error: Error) => {
        process.stderr.write(`${error.stack}\n`)
        process.exit(1)
      },
    )
  })
  process.once('disconnect', () => process.exit())
  process.send('ready')
}
