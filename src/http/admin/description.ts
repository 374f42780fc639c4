import { z } from 'zod';
import { problem } from '../../api/common.ts';

interface Described {
  readonly paths?: Record<string, Record<string, Operation>>;
}

interface Operation {
  responses?: Record<string, { description: string; content?: Record<string, unknown> }>;
}

const problemType = 'application/problem+json';

/**
 * What OpenAPI cannot take from the routes: that every error is a problem of RFC 9457, also those that
 * no route names (401, 403, 413, 429, …).
 */
export function describeProblems<T extends object>(description: T): T {
  const { paths = {} } = description as Described;
  const { $schema: _, ...schema } = z.toJSONSchema(problem);
  for (const operation of Object.values(paths).flatMap((methods) => Object.values(methods))) {
    const responses = (operation.responses ??= {});
    for (const [status, response] of Object.entries(responses)) {
      const body = response.content?.['application/json'];
      if (Number(status) < 400 || body === undefined) continue;
      response.content = { [problemType]: body };
      response.description = 'What was wrong, and what to do';
    }
    responses['default'] = {
      description: 'What was wrong, and what to do',
      content: { [problemType]: { schema } },
    };
  }
  return description;
}
