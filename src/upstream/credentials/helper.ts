import { execFile } from 'node:child_process';
import type { Clock } from '../../base/clock.ts';
import type { Credentials } from '../tokens.ts';

/** Runs a program with one line of input. @throws Error with `stdout` when it fails */
export type RunHelper = (program: string, input: string) => Promise<string>;

const helperTimeoutMs = 10_000;

const outputBytesMax = 64 * 1024;

/**
 * How long what a helper said is used. Helpers of clouds keep and renew what they get themselves (at ECR
 * 12 hours, at Google one), so they are asked often enough to follow them.
 */
const helperLifeMs = 60_000;

const helperFailureMs = 5_000;

/** A server has up to four names in Docker's configuration, and a mirror a few dozen upstreams. */
const runsMax = 1_000;

/** The protocol of docker-credential-helpers: `docker-credential-NAME get`, the server on stdin. */
export function runHelper(program: string, input: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile(
      program,
      ['get'],
      { timeout: helperTimeoutMs, maxBuffer: outputBytesMax, killSignal: 'SIGKILL' },
      (error, stdout) => {
        if (error === null) resolve(stdout);
        else reject(Object.assign(error, { stdout }));
      },
    );
    // One that ends without reading is judged by its exit code.
    child.stdin?.on('error', () => {});
    child.stdin?.end(input);
  });
}

/**
 * @param name of the helper, such as `ecr-login` for `docker-credential-ecr-login`
 * @returns undefined when the helper knows no login for that server
 * @throws Error that says which helper failed and how, without what it wrote: that may be a secret
 */
export async function findWithHelper(
  name: string,
  server: string,
  run: RunHelper,
): Promise<Credentials | undefined> {
  if (!/^[\w.-]+$/.test(name)) throw new Error(`«${name}» is not the name of a credential helper`);
  const program = `docker-credential-${name}`;
  const outcome = await run(program, server).then(
    (stdout) => ({ stdout, failure: undefined }),
    (error: { stdout?: string; code?: unknown; killed?: boolean }) => ({
      stdout: error.stdout ?? '',
      failure: howItFailed(error),
    }),
  );
  if (/credentials not found/i.test(outcome.stdout)) return undefined;
  const { failure } = outcome;
  const answer = failure === undefined ? parse(outcome.stdout) : undefined;
  if (answer === undefined) {
    const how = failure ?? 'answered something else than a login';
    throw new Error(`${program} ${how}; run «echo ${server} | ${program} get» to see why`);
  }
  const { username, password } = answer;
  return username === '' && password === '' ? undefined : answer;
}

function howItFailed({ code, killed }: { code?: unknown; killed?: boolean }): string {
  if (code === 'ENOENT') return 'is not installed, or not in PATH';
  if (killed === true) return `did not answer within ${helperTimeoutMs / 1000} s`;
  return `failed with exit code ${String(code)}`;
}

function parse(stdout: string): Credentials | undefined {
  try {
    const { Username: username, Secret: password } = JSON.parse(stdout) as Record<string, unknown>;
    const isLogin = typeof username === 'string' && typeof password === 'string';
    return isLogin ? { username, password } : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Runs each helper for each server once a minute at most, and once for all who wait. What failed is
 * forgotten sooner, but not at once: a helper that hangs would hold up every request.
 */
export function rememberedRuns(run: RunHelper, clock: Clock): RunHelper {
  const runs = new Map<string, { readonly outcome: Promise<string>; untilMs: number }>();
  return (program, input) => {
    const key = `${program}\n${input}`;
    const kept = runs.get(key);
    if (kept !== undefined && clock.monotonicMs() < kept.untilMs) return kept.outcome;
    const outcome = run(program, input);
    const mine = { outcome, untilMs: Infinity };
    runs.delete(key);
    runs.set(key, mine);
    const [oldest] = runs.keys();
    if (runs.size > runsMax && oldest !== undefined) runs.delete(oldest);
    outcome.then(
      () => {
        mine.untilMs = clock.monotonicMs() + helperLifeMs;
      },
      () => {
        mine.untilMs = clock.monotonicMs() + helperFailureMs;
      },
    );
    return outcome;
  };
}
