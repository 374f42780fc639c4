import { z } from 'zod';
import { problem } from '../../api/common.ts';

interface Described {
  readonly paths?: Record<string, Record<string, Operation>>;
}

interface Operation {
  responses?: Record<string, { description: string; content?: Record<string, Body> }>;
}

interface Body {
  readonly schema: unknown;
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
    for (const response of Object.values(responses)) {
      const body = response.content?.['application/json'];
      if (body === undefined || !isProblem(body)) continue;
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

function isProblem({ schema }: Body): boolean {
  const { required = [] } = schema as { readonly required?: readonly string[] };
  return required.includes('title') && required.includes('status');
}
