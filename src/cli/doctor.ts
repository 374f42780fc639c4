import type { Command } from 'commander';
import { diagnosis, type Diagnosis } from '../api/doctor.ts';
import { addServerOptions, AdminClient, type ServerOptions } from './admin-client.ts';
import { exitCodes, type CliIo } from './io.ts';

/** `entrepot doctor`: what the running server depends on, what was seen of it, and what to mend. */
export function addDoctor(program: Command, io: CliIo, finish: (exitCode: number) => void): void {
  const command = program
    .command('doctor')
    .summary('look at disk, clock and upstreams, and say what to mend')
    .description(
      'Let the running server look at all that it depends on: its disk, its clock, and of each upstream the name, the TLS handshake, /v2/, the login with one HEAD, and the quota. Each line says what was seen; below it stands what to mend. Exit code 0 when nothing failed, else 1.',
    )
    .option('--json', 'print the findings as JSON')
    .addHelpText('after', '\nExample:\n  entrepot doctor --server http://127.0.0.1:5001');
  addServerOptions(command).action(async (options: ServerOptions & { json?: boolean }) => {
    const found = await new AdminClient(io, options).get('/api/v1/doctor', diagnosis);
    io.stdout.write(
      options.json === true ? `${JSON.stringify(found, undefined, 2)}\n` : text(found),
    );
    finish(found.isWell ? exitCodes.done : exitCodes.failed);
  });
}

const marks = { ok: 'ok     ', warning: 'WARNING', failed: 'FAILED ', skipped: '-      ' } as const;

function text({ findings, isWell }: Diagnosis): string {
  const checkWidth = Math.max(...findings.map(({ check }) => check.length));
  const lines = findings.flatMap(({ check, subject, state, seen, mend }) => [
    `${marks[state]}  ${check.padEnd(checkWidth)}  ${subject}: ${seen}`,
    ...(mend === undefined ? [] : [`${' '.repeat(checkWidth + 11)}→ ${mend}`]),
  ]);
  const count = (state: 'failed' | 'warning'): number =>
    findings.filter((finding) => finding.state === state).length;
  const summary = isWell
    ? `Nothing failed; ${count('warning')} warnings.`
    : `${count('failed')} failed, ${count('warning')} warnings.`;
  return `${[...lines, '', summary].join('\n')}\n`;
}
