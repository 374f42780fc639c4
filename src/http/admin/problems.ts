import type { FastifyError, FastifyReply } from 'fastify';
import { hasZodFastifySchemaValidationErrors } from 'fastify-type-provider-zod';
import type { Problem } from '../../api/common.ts';
import type { Observe } from '../../base/events.ts';
import { errorTable, isMirrorError } from '../../oci/errors.ts';
import type { AdminApp } from './server.ts';

/** Something that was asked cannot be had; the message says what, and what to do. */
export class AdminProblem extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.name = 'AdminProblem';
    this.status = status;
  }
}

export function sendProblem(reply: FastifyReply, problem: Problem): FastifyReply {
  return reply.code(problem.status).type('application/problem+json').send(JSON.stringify(problem));
}

/** Every error of the admin door is answered by RFC 9457; what is no fault of the request is a bug. */
export function answerProblems(app: AdminApp, observe: Observe): void {
  app.setNotFoundHandler((request, reply) =>
    sendProblem(reply, {
      title: 'Nothing is here',
      status: 404,
      detail: `${request.method} ${request.url.split('?', 1)[0]} is no endpoint; /openapi.json lists them`,
    }),
  );
  app.setErrorHandler((error: FastifyError | Error, _request, reply) => {
    const problem = problemOf(error);
    if (problem !== undefined) return sendProblem(reply, problem);
    observe({ kind: 'bug', where: 'admin', error });
    return sendProblem(reply, {
      title: 'This is a bug in Entrepot',
      status: 500,
      detail: 'the log says more; please report it',
    });
  });
}

function problemOf(error: FastifyError | Error): Problem | undefined {
  if (hasZodFastifySchemaValidationErrors(error)) {
    return {
      title: 'The request is not understood',
      status: 400,
      errors: error.validation.map(({ instancePath, message }) => ({
        path: `${error.validationContext ?? ''}${instancePath}`,
        message: message ?? 'is wrong',
      })),
    };
  }
  if (error instanceof AdminProblem) return { title: error.message, status: error.status };
  if (isMirrorError(error)) {
    const { status } = errorTable[error.code];
    return { title: error.message, status };
  }
  const { statusCode } = error as FastifyError;
  // What fastify itself refuses: a body that is no JSON, too large, of another type.
  if (statusCode === undefined || statusCode >= 500) return undefined;
  return { title: error.message, status: statusCode };
}

/** Of a path that fastify refuses before any route sees it: broken escapes, parts that are too long. */
export function refusalOf(error: FastifyError): Problem {
  return error.statusCode === 414
    ? { title: 'A part of the path is too long', status: 414 }
    : { title: 'The path is not understood', status: 400, detail: 'check its %-escapes' };
}
