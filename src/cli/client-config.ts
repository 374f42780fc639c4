import type { Command } from 'commander';
import type { Upstream } from '../api/upstreams.ts';
import { clientFilesOf, clientNames, findMirrorUrl } from '../clients/client-files.ts';
import { addServerOptions, AdminClient, type ServerOptions } from './admin-client.ts';
import { usageFailure, type CliIo } from './io.ts';

/** Upstreams that are shown when no server can be asked for its own. */
const usualUpstreams = ['docker.io', 'ghcr.io', 'quay.io', 'gcr.io', 'registry.k8s.io'];

const mirrorDefault = 'http://127.0.0.1:5000';

interface ClientOptions extends ServerOptions {
  readonly mirror?: string;
}

/** `entrepot client-config`: the files that make a client use this mirror. */
export function addClientConfig(program: Command, io: CliIo): void {
  const command = program
    .command('client-config')
    .argument('<client>', clientNames.join(', '))
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
    const name = clientNames.find((one) => one === client);
    if (name === undefined) {
      throw usageFailure(`«${client}» is not one of ${clientNames.join(', ')}`);
    }
    const text = options.mirror ?? (io.env['ENTREPOT_MIRROR'] || mirrorDefault);
    const mirror = findMirrorUrl(text);
    if (mirror === undefined) {
      throw usageFailure(`«${text}» is no address; write for example http://10.0.0.5:5000`);
    }
    const target = { mirror, upstreams: await upstreamsOf(io, options) };
    for (const file of clientFilesOf(name, target)) {
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
