import assert from 'node:assert/strict';
import type { TestMirror } from './mirror.ts';

/** Runs of a mirror, as the admin API tells of them. */

export interface RunAnswer {
  readonly id: string;
  readonly trigger: string;
  readonly state: string;
  readonly reason: string | null;
  readonly progress: Record<string, number>;
  readonly errors: { object: string; message: string }[];
  readonly log: { text: string }[];
}

export async function api<T>(
  mirror: TestMirror,
  path: string,
  method = 'GET',
  body?: unknown,
): Promise<T> {
  const answer = await fetch(`${mirror.adminUrl}/api/v1${path}`, {
    method,
    ...(body === undefined
      ? {}
      : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
  });
  const text = await answer.text();
  assert.ok(answer.status < 300, `${path}: ${answer.status} ${text}`);
  return JSON.parse(text) as T;
}

/** Follows the run's stream to its end. */
export async function ended(mirror: TestMirror, id: string): Promise<RunAnswer> {
  const stream = await fetch(`${mirror.adminUrl}/api/v1/runs/${id}/events`);
  const text = await stream.text();
  const last =
    text
      .match(/^data: (.*)$/gm)
      ?.at(-1)
      ?.slice(6) ?? '';
  return JSON.parse(last) as RunAnswer;
}

export async function prewarm(mirror: TestMirror, body: unknown): Promise<RunAnswer> {
  const { id } = await api<RunAnswer>(mirror, '/prewarm', 'POST', body);
  return await ended(mirror, id);
}
