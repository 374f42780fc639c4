import { z } from 'zod';
import {
  pin as pinShape,
  pinPage,
  pinRequest,
  purged,
  rolledBack,
  type Pin as PinAnswer,
} from '../../api/care.ts';
import { problem, shortPageQuery } from '../../api/common.ts';
import { run } from '../../api/runs.ts';
import { CollectedWork } from '../../base/collected-work.ts';
import { parseDurationMs } from '../../base/units.ts';
import type { CacheCare, Pin } from '../../mirror/care/cache-care.ts';
import { parseImage } from '../../mirror/select/images.ts';
import { findDigest } from '../../oci/digest.ts';
import { repositoryKey, type Reference, type Repository } from '../../oci/reference.ts';
import { pageOfList } from './list-pages.ts';
import { AdminProblem } from './problems.ts';
import type { StartRun } from './run-routes.ts';
import type { AdminRoutes } from './server.ts';

/** The job that reads everything. */
export const scrubJob = 'scrub';

/** The job that removes what nothing names. */
export const gcJob = 'gc';

/** Manifests that no tag names and nobody used for so long go; by setting unless told. */
export const gcParameters = z.object({ untaggedMs: z.number().min(0).optional() });

const dryRun = z.stringbool().default(false);

/** Pins, purging, and the runs that look after the cache. */
export function careRoutes(care: CacheCare, startRun: StartRun): AdminRoutes {
  return (app) => {
    const tags = ['cache'];
    const closing = new AbortController();
    app.addHook('preClose', () => closing.abort());
    app.get(
      '/pins',
      {
        schema: {
          tags,
          summary: 'Images that are never evicted',
          querystring: shortPageQuery,
          response: { 200: pinPage, 400: problem },
        },
      },
      ({ query }) =>
        pageOfList(care.pins.list().map(pinAnswer), ({ reference }) => reference, query),
    );
    app.post(
      '/pins',
      {
        schema: {
          tags,
          summary: 'Pin an image: a tag is followed when it moves',
          body: pinRequest,
          response: { 200: pinShape, 400: problem, 404: problem, 503: problem },
        },
      },
      async ({ body }) => {
        const { repository, reference } = parseAdminImage(body.reference);
        return pinAnswer(await care.pins.pin(repository, reference));
      },
    );
    app.delete(
      '/pins',
      {
        schema: {
          tags,
          summary: 'Unpin an image; what another pin keeps stays kept',
          querystring: z.object({ ref: z.string().min(1).max(512) }),
          response: { 204: z.undefined(), 400: problem, 404: problem, 409: problem },
        },
      },
      async ({ query }, reply) => {
        const { repository, reference } = parseAdminImage(query.ref);
        if (await care.pins.unpin(repository, reference)) return reply.code(204).send();
        const [rule] = care.pins.rulesOf(repository, reference);
        throw rule === undefined
          ? new AdminProblem(404, `${query.ref} is not pinned; /api/v1/pins lists what is`)
          : new AdminProblem(
              409,
              `${query.ref} is pinned by the rule ${rule}: take it, or its pin, out of the configuration`,
            );
      },
    );
    app.delete(
      '/cache',
      {
        schema: {
          tags,
          summary: 'Purge images and content; what is read meanwhile is read to its end',
          querystring: z.object({
            ref: many.describe('image, or digest of any content'),
            pattern: many.describe('glob on registry/name or registry/name:tag'),
            'older-than': z.string().optional().describe('not used for so long, such as 30d'),
            dryRun,
          }),
          response: { 200: purged, 400: problem },
        },
      },
      async ({ query }) => {
        checkSelections(query);
        const digests = query.ref.map((text) => findDigest(text));
        const selection = {
          references: query.ref.filter((_, at) => digests[at] === undefined).map(parseAdminImage),
          digests: digests.filter((one) => one !== undefined),
          patterns: query.pattern,
          olderThanMs: durationOf(query['older-than']),
        };
        const work = new CollectedWork({ signal: closing.signal, isDryRun: query.dryRun });
        const removed = await care.purge(selection, work);
        return {
          isDryRun: query.dryRun,
          ...removed,
          tags: [...removed.tags],
          manifests: [...removed.manifests],
          log: work.lines,
          errors: work.failures,
        };
      },
    );
    app.post(
      '/cache/rollback',
      {
        schema: {
          tags,
          summary: 'Let a tag name what it named before, until upstream says something new',
          body: pinRequest,
          response: { 200: rolledBack, 400: problem, 404: problem },
        },
      },
      async ({ body }) => {
        const { repository, reference } = parseAdminImage(body.reference);
        if (reference.tag === undefined) throw new AdminProblem(400, 'Only a tag is rolled back');
        const { digest } = await care.rollBack(repository, reference.tag);
        return { reference: body.reference, digest };
      },
    );
    app.post(
      '/gc',
      {
        schema: {
          tags,
          summary: 'Remove content and names that nothing refers to',
          querystring: z.object({ dryRun, untagged: z.string().optional().describe('such as 7d') }),
          response: { 202: run, 400: problem, 503: problem },
        },
      },
      async ({ query }, reply) => {
        const untaggedMs = durationOf(query.untagged);
        const options = { isDryRun: query.dryRun, parameters: { untaggedMs } };
        return reply.code(202).send(startRun(gcJob, options));
      },
    );
    app.post(
      '/scrub',
      {
        schema: {
          tags,
          summary: 'Read everything that is stored, and mend what has changed',
          querystring: z.object({ dryRun }),
          response: { 202: run, 400: problem, 503: problem },
        },
      },
      async ({ query }, reply) =>
        reply.code(202).send(startRun(scrubJob, { isDryRun: query.dryRun })),
    );
  };
}

/** Each selects by itself what goes: two of them could be read as «both» and as «either». */
function checkSelections(query: {
  readonly ref: readonly string[];
  readonly pattern: readonly string[];
  readonly 'older-than'?: string | undefined;
}): void {
  const given = [query.ref.length > 0, query.pattern.length > 0, query['older-than'] !== undefined];
  const count = given.filter(Boolean).length;
  if (count === 0) throw new AdminProblem(400, 'Say what to purge: ref, pattern or older-than');
  if (count === 1) return;
  throw new AdminProblem(
    400,
    'Purge by ref, by pattern or by older-than, not by two of them: ask once for each',
  );
}

/** One or several of a query parameter. */
export const many = z
  .union([z.string(), z.array(z.string())])
  .default([])
  .transform((value) => (typeof value === 'string' ? [value] : value));

/** @throws AdminProblem 400 */
export function parseAdminImage(text: string): { repository: Repository; reference: Reference } {
  try {
    return parseImage(text);
  } catch (error) {
    throw new AdminProblem(400, (error as Error).message);
  }
}

function durationOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  try {
    return parseDurationMs(text);
  } catch (error) {
    throw new AdminProblem(400, (error as Error).message);
  }
}

function pinAnswer({ repository, reference, digest, keeps, by, pinnedMs }: Pin): PinAnswer {
  const isDigest = findDigest(reference) !== undefined;
  return {
    reference: `${repositoryKey(repository)}${isDigest ? '@' : ':'}${reference}`,
    digest,
    keeps: keeps.length,
    by: [...by],
    pinnedAt: new Date(pinnedMs).toISOString(),
  };
}
