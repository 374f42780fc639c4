import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeImage } from '../kit/images.ts';
import { breaches, type JsonSchema } from '../kit/json-schema.ts';
import { startMirror, type TestMirror } from '../kit/mirror.ts';
import { SeededRandom } from '../kit/random.ts';
import { startScriptedRegistry, type ScriptedRegistry } from '../kit/scripted-registry.ts';

const image = makeImage({ seed: 'api', layers: [30_000] });
const app = 'docker.io/library/app';
const json = 'application/json';

interface Parameter {
  readonly name: string;
  readonly in: 'path' | 'query';
}

interface Operation {
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: { readonly content: Record<string, { readonly schema: JsonSchema }> };
  readonly responses: Record<
    string,
    { readonly content?: Record<string, { readonly schema: JsonSchema }> }
  >;
}

interface Named {
  /** `POST /api/v1/pins` */
  readonly name: string;
  readonly method: string;
  readonly path: string;
  readonly operation: Operation;
}

interface Asked {
  readonly path?: string;
  readonly body?: unknown;
  readonly type?: string;
  /** 200 unless told. */
  readonly status?: number;
}

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly bytes: Buffer;
  readonly text: string;
}

/** A mirror with something of everything: an image, a run, a pin, a primary with a rule. */
async function startFullMirror(
  upstream: ScriptedRegistry,
  primary: TestMirror,
): Promise<TestMirror> {
  upstream.add('library/app', image, '1');
  const mirror = await startMirror({
    upstream,
    config: {
      site: {
        name: 'here',
        primary: { url: primary.url, admin: primary.adminUrl },
        sync: [{ name: 'team', repositories: [app], follow: false }],
      },
    },
  });
  await ask(mirror, 'POST', '/api/v1/prewarm', { images: [`${app}:1`] });
  await mirror.observed('run-changed', ({ state }) => state === 'succeeded');
  return mirror;
}

async function ask(
  mirror: TestMirror,
  method: string,
  path: string,
  body?: unknown,
  type = json,
): Promise<Answer> {
  const leave = new AbortController();
  const isRaw = typeof body === 'string' || body instanceof Uint8Array;
  const sent = isRaw ? new Blob([body as string]) : JSON.stringify(body);
  const answer = await fetch(`${mirror.adminUrl}${path}`, {
    method,
    signal: leave.signal,
    ...(body === undefined ? {} : { body: sent, headers: { 'content-type': type } }),
  });
  const given = answer.headers.get('content-type') ?? '';
  if (given.startsWith('text/event-stream')) {
    leave.abort();
    return { status: answer.status, type: given, bytes: Buffer.alloc(0), text: '' };
  }
  const bytes = Buffer.from(await answer.arrayBuffer());
  return { status: answer.status, type: given, bytes, text: bytes.toString() };
}

async function operationsOf(mirror: TestMirror): Promise<Named[]> {
  const { text } = await ask(mirror, 'GET', '/openapi.json');
  const { paths } = JSON.parse(text) as {
    paths: Record<string, Record<string, Operation>>;
  };
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([verb, operation]) => {
      const method = verb.toUpperCase();
      return { name: `${method} ${path}`, method, path, operation };
    }),
  );
}

/** What the answer breaks of the description; a stream and a file are held to their type alone. */
function objections({ operation }: Named, { status, type, bytes, text }: Answer): string[] {
  const response = operation.responses[status] ?? operation.responses['default'];
  if (status < 400 && operation.responses[status] === undefined)
    return [`${status} is not told of`];
  const [bare = ''] = type.split(';');
  const schema = response?.content?.[bare]?.schema;
  if (schema !== undefined) return breaches(JSON.parse(text), schema);
  if (response?.content !== undefined) return [`${type} is not told of`];
  const isBare = bytes.length === 0 || bare === 'application/x-tar';
  return isBare ? [] : [`a body of ${bytes.length} bytes (${type}) is not told of`];
}

test('every endpoint of /openapi.json answers by its own schema', async () => {
  await using upstream = await startScriptedRegistry();
  await using primary = await startMirror({ upstream });
  await using mirror = await startFullMirror(upstream, primary);
  const runs = await ask(mirror, 'GET', '/api/v1/runs');
  const { items } = JSON.parse(runs.text) as { items: { id: string }[] };
  const id = items[0]?.id ?? '';
  const archive = await ask(mirror, 'GET', `/api/v1/export?ref=${encodeURIComponent(`${app}:1`)}`);
  const reference = { reference: `${app}:1` };
  /** In this order, those that only read first; what is not here is asked for as it is. */
  const examples: Record<string, Asked> = {
    'GET /api/v1/repositories/{name}/tags': {
      path: `/api/v1/repositories/${encodeURIComponent(app)}/tags`,
    },
    'GET /api/v1/manifests/{digest}': { path: `/api/v1/manifests/${image.manifest.digest}` },
    'GET /api/v1/runs/{id}': { path: `/api/v1/runs/${id}` },
    'GET /api/v1/runs/{id}/events': { path: `/api/v1/runs/${id}/events` },
    'GET /api/v1/client-config/{client}': { path: '/api/v1/client-config/docker' },
    'GET /api/v1/export': { path: `/api/v1/export?ref=${encodeURIComponent(`${app}:1`)}` },
    'PUT /api/v1/log-level': { body: { level: 'debug' } },
    'POST /api/v1/prewarm': { body: { images: [`${app}:1`] }, status: 202 },
    'POST /api/v1/jobs/{name}/run': { path: '/api/v1/jobs/gc/run?dryRun=true', status: 202 },
    'POST /api/v1/sync/{rule}': { path: '/api/v1/sync/team?dryRun=true', status: 202 },
    'POST /api/v1/pins': { body: reference },
    'DELETE /api/v1/pins': {
      path: `/api/v1/pins?ref=${encodeURIComponent(`${app}:1`)}`,
      status: 204,
    },
    'POST /api/v1/cache/rollback': { body: reference, status: 404 },
    'POST /api/v1/gc': { path: '/api/v1/gc?dryRun=true', status: 202 },
    'POST /api/v1/scrub': { status: 202 },
    'POST /api/v1/import': { body: archive.bytes, type: 'application/x-tar' },
    'DELETE /api/v1/runs/{id}': { path: `/api/v1/runs/${id}`, status: 409 },
    'DELETE /api/v1/cache': { path: `/api/v1/cache?ref=${encodeURIComponent(`${app}:1`)}` },
  };
  const order = Object.keys(examples);
  const operations = (await operationsOf(mirror)).sort(
    (a, b) => order.indexOf(a.name) - order.indexOf(b.name),
  );

  const wrong: string[] = [];
  for (const named of operations) {
    const { path = named.path, body, type, status = 200 } = examples[named.name] ?? {};
    assert.ok(!path.includes('{'), `say in the examples of this test how to ask ${named.name}`);
    const answer = await ask(mirror, named.method, path, body, type);
    if (answer.status !== status) wrong.push(`${named.name}: ${answer.status} ${answer.text}`);
    wrong.push(...objections(named, answer).map((objection) => `${named.name}: ${objection}`));
  }

  assert.deepEqual(wrong, []);
  const readyz = operations.find(({ path }) => path === '/readyz')?.operation.responses['503'];
  assert.deepEqual(
    Object.keys(readyz?.content ?? {}),
    [json],
    'reasons are no problem of the request',
  );
  assert.ok(operations.length > 30, `${operations.length} operations`);
  assert.deepEqual(
    order.filter((name) => !operations.some((one) => one.name === name)),
    [],
    'examples of what is not there',
  );
});

const oddTexts: readonly string[] = [
  ['', ' ', '0', '-1', '1e309', 'NaN', 'true', 'null', '[]', '{}', '*', '[', '((((', '**/{a,b'],
  ['../../etc/passwd', '..%2f', '\u0000', '\r\nx: y', '漢字', '\uFFFD', 'é'.repeat(300)],
  ['a'.repeat(3000), '9'.repeat(40), '99999999d', '-5m', '30d', '1970-01-01', '__proto__'],
  [app, `${app}:1`, `${app}@sha256:12`, 'nowhere.test/a/b:1', 'latest', 'scrub', 'constructor'],
  [image.manifest.digest, `sha256:${'0'.repeat(64)}`, 'sha256:xyz', 'linux/amd64', 'linux/*'],
].flat();

function oddValue(random: SeededRandom, depth = 0): unknown {
  const kinds = [
    () => random.pick(oddTexts),
    () => random.pick([0, -1, 1.5, 1e300, 2 ** 53]),
    () => random.pick([true, false, null]),
    () => Array.from({ length: random.below(4) }, () => oddValue(random, depth + 1)),
    () => ({ [random.pick(oddTexts)]: oddValue(random, depth + 1) }),
  ];
  return (kinds[random.below(depth > 4 ? 3 : kinds.length)] ?? kinds[0]!)();
}

/** A body that has the right keys with odd values, or is odd as a whole. */
function oddBody(random: SeededRandom, { operation }: Named): [body: unknown, type: string] {
  const type = random.pick([json, json, json, json, 'application/x-tar', 'text/xml', 'nonsense']);
  const schema = operation.requestBody?.content[json]?.schema;
  const right = Object.keys(schema?.properties ?? { reference: '' });
  const bodies = [
    () => Object.fromEntries(right.map((key) => [key, oddValue(random)])),
    () => Object.fromEntries(right.map((key) => [key, random.pick(oddTexts)])),
    () => oddValue(random),
    () => random.pick(['{', '{"a":', 'not json', '\u0000\u0001', '{"__proto__":{"x":1}}', '']),
    () => Buffer.alloc(random.below(2048), random.below(256)),
  ];
  return [(bodies[random.below(bodies.length)] ?? bodies[0]!)(), type];
}

function oddPath(random: SeededRandom, { path, operation }: Named): string {
  const odd = (): string => encodeURIComponent(random.pick(oddTexts));
  const filled = path.replace(/\{\w+\}/g, () => odd() || '%20');
  const queries = (operation.parameters ?? []).filter((one) => one.in === 'query');
  const query = [...queries, ...queries, { name: 'unknown' }]
    .filter(() => random.next() < 0.5)
    .map(({ name }) => `${name}=${odd()}`);
  return query.length === 0 ? filled : `${filled}?${query.join('&')}`;
}

test('whatever is asked, by seed: never a 5xx, and each refusal is a problem with its reason', async () => {
  const seed = process.env['SEED'] ?? '1';
  const random = new SeededRandom(`api ${seed}`);
  await using upstream = await startScriptedRegistry();
  await using primary = await startMirror({ upstream });
  await using mirror = await startFullMirror(upstream, primary);
  const operations = await operationsOf(mirror);

  const wrong: string[] = [];
  let refused = 0;
  for (let round = 0; round < 1_200; round += 1) {
    const named = random.pick(operations);
    const method = random.next() < 0.05 ? random.pick(['PATCH', 'OPTIONS', 'PUT']) : named.method;
    const path = oddPath(random, named);
    const [body, type] =
      method === 'GET' || random.next() < 0.1 ? [undefined, json] : oddBody(random, named);
    const answer = await ask(mirror, method, path, body, type);
    const asked = `${method} ${path} ${JSON.stringify(body)}`.slice(0, 300);
    const hint = `${round}: ${asked} → ${answer.status} ${answer.text.slice(0, 300)}`;
    if (answer.status >= 500) wrong.push(hint);
    if (answer.status < 400) continue;
    refused += 1;
    const isProblem = answer.type.startsWith('application/problem+json');
    const told = isProblem ? (JSON.parse(answer.text) as Record<string, unknown>) : {};
    if (told['status'] !== answer.status || String(told['title']).length < 8) {
      wrong.push(hint);
    }
  }

  assert.deepEqual(wrong, [], `SEED=${seed}`);
  assert.deepEqual(mirror.observedOf('bug'), []);
  assert.ok(refused > 300, `${refused} were refused`);
});
