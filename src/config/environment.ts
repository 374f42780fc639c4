import { findNearest } from './nearest.ts';
import { allSettings, type Setting } from './shape.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

/** A setting that the environment sets. */
export interface Override {
  readonly variable: string;
  readonly path: readonly string[];
  readonly text: string;
}

export interface EnvironmentProblem {
  readonly variable: string;
  readonly message: string;
}

/** Variables with our prefix that are no settings: those of the commands, of tests and of CI. */
const otherNames = new Set([
  'ENTREPOT_SERVER',
  'ENTREPOT_CONFIG',
  'ENTREPOT_MIRROR',
  'ENTREPOT_TOKEN_FILE',
]);
const otherPrefixes = ['ENTREPOT_TEST_', 'ENTREPOT_REQUIRE_'];

/**
 * What the `ENTREPOT_…` variables set: `ENTREPOT_` and the path, upper-cased, joined by `_`, with `_`
 * for what is neither letter nor digit (`ENTREPOT_UPSTREAMS_DOCKER_IO_TAGTTL`). An empty variable sets
 * nothing, as an empty value in the file does.
 *
 * @param upstreamNames the configured upstreams, as the file spells them
 * @param secretNames variables that hold secrets which the file names; they are no settings
 */
export function readOverrides(
  env: Environment,
  upstreamNames: readonly string[],
  secretNames: ReadonlySet<string>,
): { overrides: Override[]; problems: EnvironmentProblem[] } {
  const settingsByVariable = Map.groupBy(
    allSettings().flatMap((setting) => withUpstreamNames(setting, upstreamNames)),
    ({ path }) => variableOf(path),
  );
  const overrides: Override[] = [];
  const problems: EnvironmentProblem[] = [];
  for (const variable of Object.keys(env).sort()) {
    const text = env[variable];
    if (!isOurs(variable) || secretNames.has(variable)) continue;
    if (text === undefined || text.trim() === '') continue;
    const [setting, rival] = settingsByVariable.get(variable) ?? [];
    if (setting === undefined) {
      problems.push({ variable, message: unknownMessage(variable, settingsByVariable) });
    } else if (rival !== undefined) {
      const paths = `${setting.path.join('.')} and ${rival.path.join('.')}`;
      problems.push({
        variable,
        message: `it could mean ${paths}; set them in the configuration file`,
      });
    } else if (setting.kind !== 'scalar') {
      const kind = setting.kind === 'list' ? 'a list' : 'a section';
      problems.push({
        variable,
        message: `${setting.path.join('.')} is ${kind}, and a variable holds one value only; set it in the configuration file`,
      });
    } else {
      overrides.push({ variable, path: setting.path, text });
    }
  }
  return { overrides, problems };
}

function isOurs(variable: string): boolean {
  return (
    variable.startsWith('ENTREPOT_') &&
    !otherNames.has(variable) &&
    !otherPrefixes.some((prefix) => variable.startsWith(prefix))
  );
}

/** The variable that sets a setting; see `readOverrides`. */
export function variableOf(path: readonly string[]): string {
  return ['ENTREPOT', ...path]
    .join('_')
    .toUpperCase()
    .replace(/[^A-Z0-9]/g, '_');
}

/** A setting of every upstream is one of each; the items of lists have no variables. */
function withUpstreamNames(setting: Setting, upstreamNames: readonly string[]): Setting[] {
  const [head, second, ...rest] = setting.path;
  if (head === 'upstreams' && second === '*') {
    return upstreamNames.map((name) => ({ ...setting, path: [head, name, ...rest] }));
  }
  return setting.path.includes('*') ? [] : [setting];
}

function unknownMessage(
  variable: string,
  settingsByVariable: ReadonlyMap<string, readonly Setting[]>,
): string {
  const scalars = [...settingsByVariable].filter(([, [first]]) => first?.kind === 'scalar');
  const nearest = findNearest(
    variable,
    scalars.map(([name]) => name),
  );
  if (nearest !== undefined) return `no setting has this name; did you mean ${nearest}?`;
  if (variable.startsWith('ENTREPOT_UPSTREAMS_')) {
    return 'it fits no setting of a configured upstream; name the upstream in the configuration file first';
  }
  return 'no setting has this name; unset it, or see config/entrepot.yaml for the names';
}
