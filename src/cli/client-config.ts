import type { Command } from 'commander';
import type { ClientConfig } from '../api/clients.ts';
import {
  clientFilesOf,
  clientNames,
  findMirrorUrl,
  type ClientFile,
  type ClientName,
} from '../clients/client-files.ts';
import { addServerOptions, AdminClient, type ServerOptions } from './admin-client.ts';
import { CliFailure, exitCodes, usageFailure, type CliIo } from './io.ts';

/** Upstreams that are shown when no server can be asked for its own. */
const usualUpstreams = ['docker.io', 'ghcr.io', 'quay.io', 'gcr.io', 'registry.k8s.io'];

const mirrorDefault = 'http://127.0.0.1:5000';

interface ClientOptions extends ServerOptions {
  readonly mirror?: string;
  readonly json?: boolean;
}

/** `entrepot client-config`: the files that make a client use this mirror. */
export function addClientConfig(program: Command, io: CliIo): void {
  const command = program
    .command('client-config')
    .argument('<client>', clientNames.join(', '))
    .summary('print the file that makes a client use this mirror')
    .description(
      'Print the configuration of a client for this mirror, with where it stands and what to do then. Address and upstreams are those of the running server, when it answers. What JSON has no comments for goes to stderr.',
    )
    .option(
      '-m, --mirror <url>',
      `where the client reaches the mirror (default: $ENTREPOT_MIRROR, else what the server says, else ${mirrorDefault})`,
    )
    .option('--json', 'print address and files as JSON')
    .addHelpText(
      'after',
      '\nExamples:\n  entrepot client-config docker\n  entrepot client-config containerd --mirror https://mirror.example.com',
    );
  addServerOptions(command).action(async (client: string, options: ClientOptions) => {
    const name = clientNames.find((one) => one === client);
    if (name === undefined) {
      throw usageFailure(`«${client}» is not one of ${clientNames.join(', ')}`);
    }
    const text = options.mirror ?? (io.env['ENTREPOT_MIRROR'] || undefined);
    const mirror = text === undefined ? undefined : findMirrorUrl(text);
    if (text !== undefined && mirror === undefined) {
      throw usageFailure(`«${text}» is no address; write for example http://10.0.0.5:5000`);
    }
    const found = await configOf(name, mirror, io, options);
    if (options.json === true) io.stdout.write(`${JSON.stringify(found, undefined, 2)}\n`);
    else for (const file of found.files) print(file, io);
  });
}

/** As the running server says, else by defaults, which is said. */
async function configOf(
  client: ClientName,
  mirror: URL | undefined,
  io: CliIo,
  options: ServerOptions,
): Promise<ClientConfig> {
  const query = mirror === undefined ? '' : `?mirror=${encodeURIComponent(mirror.href)}`;
  try {
    return await new AdminClient(io, options).get<ClientConfig>(
      `/api/v1/client-config/${client}${query}`,
    );
  } catch (error) {
    const isMeant = options.server !== undefined;
    const isOurs = error instanceof CliFailure && error.exitCode !== exitCodes.usage;
    if (isMeant || !isOurs || io.interrupted?.aborted === true) throw error;
    const url = mirror ?? new URL(mirrorDefault);
    const guessed =
      mirror === undefined ? `${mirrorDefault} and the usual upstreams` : 'the usual upstreams';
    io.stderr.write(`entrepot: ${error.message}\nThis names ${guessed}, by default.\n`);
    const files = clientFilesOf(client, { mirror: url, upstreams: usualUpstreams });
    return { mirror: url.href.replace(/\/$/, ''), files };
  }
}

/** What is written to a file is one that the client reads: JSON has no comments. */
function print({ path, text, afterwards }: ClientFile, io: CliIo): void {
  const comments = text.startsWith('{') ? io.stderr : io.stdout;
  comments.write(`# ${path}\n`);
  io.stdout.write(`${text}\n`);
  comments.write(`# then: ${afterwards}\n\n`);
}
