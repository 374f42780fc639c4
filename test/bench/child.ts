import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** A script of this folder in a process of its own, which answers questions one at a time. */
export interface Child<Question, Reply> extends AsyncDisposable {
  readonly pid: number;
  /** @throws Error with what the child threw, or when it ended */
  ask(question: Question): Promise<Reply>;
}

type Message = { readonly reply: unknown } | { readonly error: string };

/** @param file beside this one; it calls `answerParent` */
export function startChild<Question, Reply>(file: string): Child<Question, Reply> {
  const path = fileURLToPath(new URL(file, import.meta.url));
  const child = fork(path, { execArgv: [] });
  const kill = (): void => void child.kill('SIGKILL');
  process.on('exit', kill);
  const { promise: ended, resolve: end } = Promise.withResolvers<void>();
  child.on('exit', () => {
    process.off('exit', kill);
    end();
  });
  let before: Promise<unknown> = Promise.resolve();
  const askNow = async (question: Question): Promise<Reply> => {
    const { promise, resolve } = Promise.withResolvers<Message>();
    child.once('message', resolve);
    child.send(question as object);
    const message = await Promise.race([promise, ended]);
    if (message === undefined) throw new Error(`${file} ended`);
    if ('error' in message) throw new Error(`${file}: ${message.error}`);
    return message.reply as Reply;
  };
  return {
    pid: child.pid ?? 0,
    ask: (question) => {
      const reply = before.then(() => askNow(question));
      before = reply.catch(() => {});
      return reply;
    },
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

/** The child's side: one answer a question. The end of the parent is the end of the child. */
export function answerParent<Question, Reply>(
  answer: (question: Question) => Promise<Reply>,
): void {
  const send = (message: Message): void => void process.send?.(message);
  process.on('disconnect', () => process.exit());
  process.on('message', (question) => {
    answer(question as Question).then(
      (reply) => send({ reply }),
      (error: unknown) => send({ error: String(error) }),
    );
  });
}
