/** Where clients pull, and what for. */
export interface MirrorTarget {
  /** Where the client reaches the mirror. */
  readonly mirror: URL;
  /** Names of the registries that it mirrors. */
  readonly upstreams: readonly string[];
}

/** A file of a client: where it stands, and what is in it. */
export interface ClientFile {
  readonly path: string;
  readonly text: string;
  /** What to do afterwards. */
  readonly afterwards: string;
}

/** The clients whose files are known. */
export const clientNames = ['docker', 'containerd', 'podman', 'crio', 'buildkit', 'k3s'] as const;

export type ClientName = (typeof clientNames)[number];

const writers: Readonly<Record<ClientName, (target: MirrorTarget) => ClientFile[]>> = {
  docker,
  containerd,
  podman: (target) => registriesConf(target, 'nothing: it is read at each pull'),
  crio: (target) => registriesConf(target, 'systemctl restart crio'),
  buildkit,
  k3s,
};

/** The files that make a client use this mirror. */
export function clientFilesOf(client: ClientName, target: MirrorTarget): ClientFile[] {
  return writers[client](target);
}

/** @returns undefined for what is no address of a mirror */
export function findMirrorUrl(text: string): URL | undefined {
  return /^https?:\/\//.test(text) && URL.canParse(text) ? new URL(text) : undefined;
}

function addressOf({ mirror }: MirrorTarget): string {
  return mirror.href.replace(/\/$/, '');
}

/** Docker's `registry-mirrors` are for docker.io only; the others are pulled by the mirror's own name. */
function docker(target: MirrorTarget): ClientFile[] {
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
function containerd(target: MirrorTarget): ClientFile[] {
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

function hostsToml(target: MirrorTarget, server: string): string {
  return [
    `server = "${server}"`,
    '',
    `[host."${addressOf(target)}"]`,
    '  capabilities = ["pull", "resolve"]',
  ].join('\n');
}

/** A mirror's path stands before the name: `/v2/<upstream>/<name>`. */
function registriesConf(target: MirrorTarget, afterwards: string): ClientFile[] {
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

function buildkit(target: MirrorTarget): ClientFile[] {
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

function k3s(target: MirrorTarget): ClientFile[] {
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
