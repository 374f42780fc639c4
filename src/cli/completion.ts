import type { Command } from 'commander';
import { usageFailure, type CliIo } from './io.ts';

/** `entrepot completion`: what makes a shell complete our commands. @param all loads every command */
export function addCompletion(program: Command, io: CliIo, all: () => Promise<Command>): void {
  program
    .command('completion')
    .argument('<shell>', 'bash, zsh or fish')
    .summary('print the completion script for a shell')
    .description('Print a script that makes a shell complete commands and options.')
    .addHelpText(
      'after',
      '\nExamples:\n  source <(entrepot completion bash)\n  entrepot completion zsh > "${fpath[1]}/_entrepot"\n  entrepot completion fish > ~/.config/fish/completions/entrepot.fish',
    )
    .action(async (shell: string) => {
      const words = wordsOf(await all());
      const script = {
        bash,
        zsh: (one: Words) => `autoload -U bashcompinit && bashcompinit\n${bash(one)}`,
        fish,
      }[shell];
      if (script === undefined) throw usageFailure(`«${shell}» is not bash, zsh or fish`);
      io.stdout.write(script(words));
    });
}

/** What may follow each command line so far, such as `jobs run`. */
type Words = ReadonlyMap<string, readonly { readonly word: string; readonly summary: string }[]>;

function wordsOf(program: Command): Words {
  const words = new Map<string, { word: string; summary: string }[]>();
  const visit = (command: Command, path: string): void => {
    const children = command.commands.map((child) => ({
      word: child.name(),
      summary: child.summary(),
    }));
    const options = command.options.map((option) => ({
      word: option.long ?? option.short ?? '',
      summary: option.description,
    }));
    words.set(path, [...children, ...options]);
    for (const child of command.commands) visit(child, `${path} ${child.name()}`.trim());
  };
  visit(program, '');
  return words;
}

function bash(words: Words): string {
  const cases = Array.from(
    words,
    ([path, next]) => `    "${path}") words="${next.map(({ word }) => word).join(' ')}" ;;`,
  );
  return `_entrepot() {
  local current="\${COMP_WORDS[COMP_CWORD]}" path="" words="" word
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    [[ "$word" == -* ]] || path="\${path:+$path }$word"
  done
  case "$path" in
${cases.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _entrepot entrepot
`;
}

function fish(words: Words): string {
  const quote = (text: string): string => `'${text.replaceAll("'", "\\'")}'`;
  const lines = [...words].flatMap(([path, next]) =>
    next.map(({ word, summary }) => {
      const seen = path.split(' ').filter((part) => part !== '');
      const condition =
        seen.length === 0
          ? '__fish_use_subcommand'
          : seen.map((part) => `__fish_seen_subcommand_from ${part}`).join('; and ');
      const what = word.startsWith('--') ? `-l ${word.slice(2)}` : `-a ${quote(word)}`;
      return `complete -c entrepot -n ${quote(condition)} ${what} -d ${quote(summary)}`;
    }),
  );
  return `${lines.join('\n')}\n`;
}
