import assert from 'node:assert/strict';
import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { parse, parseAllDocuments } from 'yaml';
import { parseConfig } from '../../src/config/load.ts';
import { get } from '../kit/clients.ts';
import { startEntrepotProcess } from '../kit/entrepot.ts';
import { makeImage } from '../kit/images.ts';
import { startMirror } from '../kit/mirror.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';
import { temporaryFolder } from '../kit/temporary-folder.ts';
import { until } from '../kit/wait-for.ts';

const configFolder = new URL('../../config/', import.meta.url);

function readConfigFile(path: string): Promise<string> {
  return readFile(new URL(path, configFolder), 'utf8');
}

test('the Grafana dashboard and the alert rules ask for metrics and labels that there are', async () => {
  const image = makeImage({ seed: 'metrics', layers: [10_000] });
  await using upstream = await startScriptedRegistry({
    rules: [
      {
        when: { kind: 'manifest' },
        do: { headers: { 'ratelimit-limit': '100;w=21600', 'ratelimit-remaining': '99;w=21600' } },
      },
    ],
  });
  upstream.add('library/app', image, '1');
  await using primary = await startMirror({ upstream });
  await using mirror = await startMirror({
    upstream,
    config: {
      site: {
        name: 'here',
        primary: { url: primary.url, admin: primary.adminUrl },
        sync: [{ name: 'team', repositories: ['docker.io/library/app'] }],
      },
    },
  });
  await mirror.observed(
    'run-changed',
    (run) => run.job === 'sync:team' && run.state === 'succeeded',
  );
  await fetch(`${mirror.adminUrl}/api/v1/gc`, { method: 'POST' });
  await mirror.observed('run-changed', ({ job, state }) => job === 'gc' && state === 'succeeded');
  await get(`${mirror.url}/v2/app/manifests/1`);
  await get(`${mirror.url}/v2/app/blobs/${image.layers[0]!.digest}`);
  await mirror.observed('fill-committed');
  // The primary asks the upstream, and knows its quota; the site knows how far it is behind.
  const both = [primary, mirror].map(async ({ adminUrl }) =>
    (await fetch(`${adminUrl}/metrics`)).text(),
  );
  const metrics = (await Promise.all(both)).join('\n');
  const labelsOf = new Map<string, Set<string>>();
  for (const [, name = '', labels = ''] of metrics.matchAll(/^(entrepot_\w+)(?:\{(.*)\})? /gm)) {
    const known = labelsOf.get(name) ?? new Set(['instance', 'job']);
    for (const [, label = ''] of labels.matchAll(/(\w+)="/g)) known.add(label);
    labelsOf.set(name, known);
  }

  const alerts = parse(await readConfigFile('prometheus/alerts.yaml')) as {
    groups: { rules: { alert: string; expr: string; annotations: object }[] }[];
  };
  const dashboard = JSON.parse(await readConfigFile('grafana/entrepot.json')) as {
    panels: { title: string; targets?: { expr: string }[] }[];
  };
  const expressions = [
    ...alerts.groups.flatMap(({ rules }) => rules.map(({ alert, expr }) => [alert, expr])),
    ...dashboard.panels.flatMap(({ title, targets = [] }) =>
      targets.map(({ expr }) => [title, expr]),
    ),
  ];

  const wrong: string[] = [];
  for (const [where = '', text = ''] of expressions) {
    for (const [, name = '', , labels = ''] of text.matchAll(/\b(entrepot_\w+)(\{([^}]*)\})?/g)) {
      const known = labelsOf.get(name);
      if (known === undefined) wrong.push(`${where}: there is no ${name}`);
      for (const [, label = ''] of labels.matchAll(/(\w+)(?:=~|!=|=)"/g)) {
        if (known?.has(label) === false) wrong.push(`${where}: ${name} has no label ${label}`);
      }
    }
    const all = new Set<string>();
    for (const [, name = ''] of text.matchAll(/\b(entrepot_\w+)/g)) {
      for (const label of labelsOf.get(name) ?? []) all.add(label);
    }
    for (const [, labels = ''] of text.matchAll(/\bby \(([^)]*)\)/g)) {
      for (const label of labels.split(', ')) {
        if (!all.has(label)) wrong.push(`${where}: nothing has the label ${label}`);
      }
    }
  }
  assert.deepEqual(wrong, []);
  assert.ok(expressions.length > 35, `${expressions.length} expressions`);
});

interface Manifest {
  readonly kind: string;
  readonly data?: Record<string, string>;
  readonly spec: {
    readonly ports?: { readonly targetPort: string }[];
    readonly template: {
      readonly spec: {
        readonly terminationGracePeriodSeconds: number;
        readonly securityContext: { readonly runAsNonRoot: boolean };
        readonly containers: readonly {
          readonly ports: { readonly name: string; readonly containerPort: number }[];
          readonly volumeMounts: { readonly name: string; readonly mountPath: string }[];
          readonly livenessProbe: { readonly httpGet: { readonly path: string } };
          readonly readinessProbe: { readonly httpGet: { readonly path: string } };
          readonly securityContext: Record<string, unknown>;
        }[];
        readonly volumes: { readonly name: string }[];
      };
    };
  };
}

test('the Kubernetes manifests fit their configuration: ports, mounts, probes, time to shut down', async () => {
  const documents = parseAllDocuments(await readConfigFile('kubernetes/entrepot.yaml'));
  const manifests = documents.map((document) => document.toJS() as Manifest);
  const of = (kind: string): Manifest => {
    const found = manifests.find((one) => one.kind === kind);
    assert.ok(found, kind);
    return found;
  };
  const text = of('ConfigMap').data?.['entrepot.yaml'] ?? '';
  const config = parseConfig(text, 'entrepot.yaml', {});
  const pod = of('Deployment').spec.template.spec;
  const [container] = pod.containers;
  const mounts = container?.volumeMounts.map(({ mountPath }) => mountPath) ?? [];

  assert.equal(text, await readConfigFile('examples/kubernetes.yaml'));
  assert.deepEqual(
    container?.ports.map(({ containerPort }) => containerPort),
    [config.registry.listen.port, config.admin.listen.port],
  );
  assert.ok(mounts.includes(config.storage.path));
  const token = config.admin.token;
  assert.ok(token !== undefined && 'file' in token);
  assert.ok(mounts.some((mount) => token.file.startsWith(`${mount}/`)));
  assert.deepEqual(
    container?.volumeMounts.map(({ name }) => name).sort(),
    pod.volumes.map(({ name }) => name).sort(),
  );
  const sleepSeconds = 5;
  const neededSeconds = config.registry.shutdownTimeoutMs / 1000 + sleepSeconds;
  assert.ok(pod.terminationGracePeriodSeconds > neededSeconds);
  assert.equal(pod.securityContext.runAsNonRoot, true);
  assert.equal(container?.securityContext['readOnlyRootFilesystem'], true);
  const paths = [container?.livenessProbe, container?.readinessProbe].map(
    (probe) => probe?.httpGet.path,
  );
  assert.deepEqual(paths, ['/livez', '/readyz']);
  const targets = manifests
    .filter(({ kind }) => kind === 'Service')
    .flatMap(({ spec }) => spec.ports?.map(({ targetPort }) => targetPort) ?? []);
  assert.deepEqual(
    targets,
    container?.ports.map(({ name }) => name),
  );
});

test('systemd is told when it serves, that it is alive, and that it stops', async () => {
  await using folder = await temporaryFolder();
  const told = join(folder.path, 'told');
  const program = join(folder.path, 'systemd-notify');
  await writeFile(program, `#!/bin/sh\necho "$NOTIFY_SOCKET $*" >> ${told}\n`);
  await chmod(program, 0o755);
  await using upstream = await startScriptedRegistry();
  await using mirror = await startEntrepotProcess({
    config: { upstreams: { 'docker.io': { urls: [upstream.url] } } },
    env: {
      PATH: `${folder.path}:${process.env['PATH']}`,
      NOTIFY_SOCKET: '/run/test/notify',
      WATCHDOG_USEC: '200000',
    },
  });
  const words = async (): Promise<string> => readFile(told, 'utf8').catch(() => '');
  await until('it is alive', async () => (await words()).split('WATCHDOG=1').length > 2);

  await mirror.stop();
  await until('it has said so', async () => (await words()).includes('STOPPING=1'));

  const [first = ''] = (await words()).split('\n');
  assert.equal(first, `/run/test/notify --ready --status=serves ${mirror.url}`);
  assert.equal(mirror.exited(), 0);
});

test('the systemd unit knows how the program talks and how long it may take to end', async () => {
  const unit = await readConfigFile('systemd/entrepot.service');
  const settings = new Map(
    [...unit.matchAll(/^(\w+)=(.*)$/gm)].map(([, name = '', value = '']) => [name, value]),
  );
  const seconds = (name: string): number => Number(/^(\d+)s$/.exec(settings.get(name) ?? '')?.[1]);

  assert.equal(settings.get('Type'), 'notify');
  assert.equal(settings.get('NotifyAccess'), 'all');
  assert.equal(settings.get('ExecReload'), '/bin/kill -HUP $MAINPID');
  const { registry } = parseConfig('', '', {});
  assert.ok(seconds('TimeoutStopSec') * 1000 > registry.shutdownTimeoutMs);
  assert.ok(seconds('WatchdogSec') >= 10);
  assert.match(settings.get('ExecStart') ?? '', /entrepot serve --config \/etc\/entrepot\//);
});
