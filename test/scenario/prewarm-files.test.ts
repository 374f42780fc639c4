import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Run } from '../../src/api/runs.ts';
import { runCli } from '../../src/cli/program.ts';
import { get } from '../kit/clients.ts';
import { makeImage, type Image } from '../kit/images.ts';
import { startMirror, type TestMirror } from '../kit/mirror.ts';
import { startScriptedRegistry, type ScriptedRegistry } from '../kit/scripted-registry.ts';
import { temporaryFolder } from '../kit/temporary-folder.ts';

async function cli(
  mirror: TestMirror,
  ...argv: string[]
): Promise<{ exitCode: number; out: string; err: string }> {
  let out = '';
  let err = '';
  const exitCode = await runCli(argv, {
    env: { ENTREPOT_SERVER: mirror.adminUrl, APP_VERSION: '3' },
    stdout: { write: (text) => (out += text) },
    stderr: { write: (text) => (err += text) },
    serve: () => Promise.resolve(0),
  });
  return { exitCode, out, err };
}

const compose = `
name: shop
x-logging: &logging { driver: json-file }
services:
  web:
    image: web:1
    logging: *logging
  api:
    image: "docker.io/team/api:\${APP_VERSION:-1}"
    depends_on: [db]
  db: { image: db }
  worker: { build: ., image: "team/worker:2" }
`;

const pod = (image: string): string => `{ containers: [{ name: main, image: "${image}" }] }`;
const template = (image: string): string => `{ template: { spec: ${pod(image)} } }`;

/** As Helm prints it: comments, empty documents, a list. */
const kubernetes = `
---
# Source: shop/templates/deployment.yaml
apiVersion: apps/v1
kind: Deployment
metadata: { name: deployment }
spec:
  template:
    spec:
      initContainers:
        - { name: init, image: k8s/init:1 }
      containers:
        - name: main
          image: k8s/deployment:1
          imagePullPolicy: IfNotPresent
---
---
{ apiVersion: apps/v1, kind: StatefulSet, spec: ${template('k8s/statefulset:1')} }
---
{ apiVersion: apps/v1, kind: DaemonSet, spec: ${template('k8s/daemonset:1')} }
---
{ apiVersion: batch/v1, kind: Job, spec: ${template('k8s/job:1')} }
---
apiVersion: v1
kind: List
items:
  - { kind: CronJob, spec: { jobTemplate: { spec: ${template('k8s/cronjob:1')} } } }
  - { kind: Pod, spec: ${pod('k8s/pod:1')} }
  - { kind: ReplicaSet, spec: ${template('k8s/deployment:1')} }
  - { kind: ConfigMap, data: { note: "image: not/this:1" } }
---
apiVersion: v1
kind: Pod
spec:
  containers: [{ name: again, image: web:1 }]
  volumes: [{ name: model, image: { reference: "k8s/volume:1" } }]
`;

const inCompose = ['library/web:1', 'team/api:3', 'library/db:latest', 'team/worker:2'];
const inKubernetes = [
  'k8s/init:1',
  'k8s/deployment:1',
  'k8s/statefulset:1',
  'k8s/daemonset:1',
  'k8s/job:1',
  'k8s/cronjob:1',
  'k8s/pod:1',
  'k8s/volume:1',
];

function addAll(upstream: ScriptedRegistry, names: readonly string[]): Map<string, Image> {
  return new Map(
    names.map((name) => {
      const [repository = '', tag = ''] = name.split(':');
      const image = makeImage({ seed: name, layers: [20_000, 10_000] });
      upstream.add(repository, image, tag);
      return [name, image];
    }),
  );
}

test('12 images of a compose file and of Kubernetes manifests are there after one command; the second fetches nothing', async () => {
  await using folder = await temporaryFolder();
  await using upstream = await startScriptedRegistry();
  const images = addAll(upstream, [...inCompose, ...inKubernetes]);
  assert.equal(images.size, 12);
  await using mirror = await startMirror({ upstream });
  const files = ['-f', join(folder.path, 'compose.yml'), '-f', join(folder.path, 'k8s.yaml')];
  await writeFile(files[1]!, compose);
  await writeFile(files[3]!, kubernetes);

  const first = await cli(mirror, 'prewarm', ...files);
  const fetched = upstream.bytesSent();
  const second = await cli(mirror, 'prewarm', ...files, '--json');

  assert.equal(first.exitCode, 0, first.out + first.err);
  assert.match(first.out, /✓ succeeded; 12 of 12 images, 36 of 36 blobs/);
  for (const name of images.keys()) assert.ok(first.out.includes(`${name}: is here`), name);
  assert.equal(first.out.includes('\r'), false, 'lines, not a bar, when piped');
  assert.equal(second.exitCode, 0);
  const run = JSON.parse(second.out) as Run;
  const { imagesDone, bytesFetched } = run.progress;
  assert.deepEqual([run.state, imagesDone, bytesFetched], ['succeeded', 12, 0]);
  assert.equal(upstream.bytesSent() - fetched, 0, 'bytes of the second run');

  await upstream.stop();
  for (const [name, image] of images) {
    const [repository = '', tag = ''] = name.split(':');
    assert.equal((await get(`${mirror.url}/v2/${repository}/manifests/${tag}`)).status, 200, name);
    for (const { digest } of [image.config, ...image.layers]) {
      const blob = await get(`${mirror.url}/v2/${repository}/blobs/${digest}`);
      assert.equal(blob.headers['x-cache'], 'HIT', name);
    }
  }
});

test('the exit code tells: 1 with the reason when an image is missing or a file names none', async () => {
  await using folder = await temporaryFolder();
  await using upstream = await startScriptedRegistry();
  addAll(upstream, inCompose.slice(1));
  await using mirror = await startMirror({ upstream });
  const file = join(folder.path, 'compose.yml');
  await writeFile(file, compose);
  const empty = join(folder.path, 'empty.yml');
  await writeFile(empty, 'kind: ConfigMap\n');

  const partial = await cli(mirror, 'prewarm', '-f', file);
  const none = await cli(mirror, 'prewarm', '-f', empty);

  assert.equal(partial.exitCode, 1);
  assert.match(partial.out, /✗ docker\.io\/library\/web:1: .*does not exist/);
  assert.match(partial.out, /! partial; 3 of 4 images/);
  assert.equal(none.exitCode, 1);
  assert.match(none.err, /names no image/);
});
