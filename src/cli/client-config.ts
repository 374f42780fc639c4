import type { Command } from 'commander';
import type { Upstream } from '../api/upstreams.ts';
import { addServerOptions, AdminClient, type ServerOptions } from './admin-client.ts';
import { CliFailure, type CliIo } from './io.ts';

/** Upstreams that are shown when no server can be asked for its own. */
const usualUpstreams = ['docker.io', 'ghcr.io', 'quay.io', 'gcr.io', 'registry.k8s.io'];

const mirrorDefault = 'http://127.0.0.1:5000';

interface Target {
  /** Where clients pull, without a slash at the end. */
  readonly mirror: URL;
  readonly upstreams: readonly string[];
}

/** A file of a client: where it stands, and what is in it. */
interface ClientFile {
  readonly path: string;
  readonly text: string;
  /** What to do afterwards. */
  readonly afterwards: string;
}

const writers: Readonly<Record<string, (target: Target) => ClientFile[]>> = {
  docker,
  containerd,
  podman: (target) => registriesConf(target, 'nothing: it is read at each pull'),
  crio: (target) => registriesConf(target, 'systemctl restart crio'),
  buildkit,
  k3s,
};

interface ClientOptions extends ServerOptions {
  readonly mirror?: string;
}

/** `entrepot client-config`: the files that make a client use this mirror. */
export function addClientConfig(program: Command, io: CliIo): void {
  const command = program
    .command('client-config')
    .argument('<client>', Object.keys(writers).join(', '))
    .summary('print the file that makes a client use this mirror')
    .description(
      'Print the configuration of a client for this mirror, with where it stands and what to do then. The upstreams are those of the running server, when it answers.',
    )
    .option(
      '-m, --mirror <url>',
      `where the client reaches the mirror (default: $ENTREPOT_MIRROR, else ${mirrorDefault})`,
    )
    .addHelpText(
      'after',
      '\nExamples:\n  entrepot client-config docker\n  entrepot client-config containerd --mirror https://mirror.example.com',
    );
  addServerOptions(command).action(async (client: string, options: ClientOptions) => {
    const write = Object.hasOwn(writers, client) ? writers[client] : undefined;
    if (write === undefined) {
      throw new CliFailure(`«${client}» is not one of ${Object.keys(writers).join(', ')}`);
    }
    const text = options.mirror ?? (io.env['ENTREPOT_MIRROR'] || mirrorDefault);
    if (!/^https?:\/\//.test(text) || !URL.canParse(text)) {
      throw new CliFailure(`«${text}» is no address; write for example http://10.0.0.5:5000`);
    }
    const target = { mirror: new URL(text), upstreams: await upstreamsOf(io, options) };
    for (const file of write(target)) {
      io.stdout.write(`# ${file.path}\n${file.text}\n# then: ${file.afterwards}\n\n`);
    }
  });
}

async function upstreamsOf(io: CliIo, options: ServerOptions): Promise<readonly string[]> {
  try {
    const client = new AdminClient(io, options);
    const { items } = await client.get<{ items: Upstream[] }>('/api/v1/upstreams');
    return items.map(({ name }) => name);
  } catch (error) {
    if (options.server !== undefined) throw error;
    return usualUpstreams;
  }
}

function addressOf({ mirror }: Target): string {
  return mirror.href.replace(/\/$/, '');
}

/** Docker's `registry-mirrors` are for docker.io only; the others are pulled by the mirror's own name. */
function docker(target: Target): ClientFile[] {
  const other = target.upstreams.find((name) => name !== 'docker.io');
  const example =
    other === undefined ? '' : `\n# other registries: docker pull ${target.mirror.host}/${other}/…`;
  return [
    {
      path: '/etc/docker/daemon.json (a part of it; JSON has no comments)',
      text: JSON.stringify({ 'registry-mirrors': [addressOf(target)] }, undefined, 2),
      afterwards: `systemctl reload docker${example}`,
    },
  ];
}

/** A folder for each registry, and one for all that have none of their own. */
function containerd(target: Target): ClientFile[] {
  const files = target.upstreams.map((name) => ({
    path: `/etc/containerd/certs.d/${name}/hosts.toml`,
    text: hostsToml(target, `https://${name === 'docker.io' ? 'registry-1.docker.io' : name}`),
    afterwards: 'nothing: it is read at each pull',
  }));
  return [
    ...files,
    {
      path: '/etc/containerd/config.toml (a part of it; containerd 1.7, in 2.x the section is io.containerd.cri.v1.images)',
      text: '[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "/etc/containerd/certs.d"',
      afterwards: 'systemctl restart containerd',
    },
  ];
}

function hostsToml(target: Target, server: string): string {
  return [
    `server = "${server}"`,
    '',
    `[host."${addressOf(target)}"]`,
    '  capabilities = ["pull", "resolve"]',
  ].join('\n');
}

/** A mirror's path stands before the name: `/v2/<upstream>/<name>`. */
function registriesConf(target: Target, afterwards: string): ClientFile[] {
  const { mirror, upstreams } = target;
  const base = `${mirror.host}${mirror.pathname.replace(/\/$/, '')}`;
  const sections = upstreams.map((name) =>
    [
      '[[registry]]',
      `prefix = "${name}"`,
      `location = "${name}"`,
      '',
      '[[registry.mirror]]',
      `location = "${base}/${name}"`,
      `insecure = ${mirror.protocol === 'http:'}`,
    ].join('\n'),
  );
  return [
    {
      path: '/etc/containers/registries.conf.d/50-entrepot.conf',
      text: sections.join('\n\n'),
      afterwards,
    },
  ];
}

function buildkit(target: Target): ClientFile[] {
  const { mirror, upstreams } = target;
  const isPlain = mirror.protocol === 'http:';
  const sections = upstreams.map((name) => `[registry."${name}"]\n  mirrors = ["${mirror.host}"]`);
  const own = isPlain ? [`[registry."${mirror.host}"]\n  http = true`] : [];
  return [
    {
      path: '/etc/buildkit/buildkitd.toml',
      text: [...sections, ...own].join('\n\n'),
      afterwards: 'docker buildx create --use --buildkitd-config /etc/buildkit/buildkitd.toml',
    },
  ];
}

function k3s(target: Target): ClientFile[] {
  const mirrors = target.upstreams.map(
    (name) => `  ${name}:\n    endpoint:\n      - "${addressOf(target)}"`,
  );
  return [
    {
      path: '/etc/rancher/k3s/registries.yaml',
      text: ['mirrors:', ...mirrors].join('\n'),
      afterwards: 'systemctl restart k3s (k3s-agent on agents)',
    },
  ];
}
