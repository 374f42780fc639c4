import type { Digest } from '../../oci/digest.ts';
import { isMirrorError, MirrorError } from '../../oci/errors.ts';
import type { Repository } from '../../oci/reference.ts';
import type { PrimaryAdmin } from '../../upstream/primary/admin.ts';
import { isCertain } from '../../upstream/refusal.ts';
import type { Listed, Upstream } from '../../upstream/upstream.ts';
import { digestOf } from '../manifest-shelf.ts';
import type { SourceTag, SyncSource } from './sync.ts';

/** Another Entrepot: its admin API tells what it has, without a question to any registry. */
export function entrepotSource(admin: PrimaryAdmin): SyncSource {
  return {
    repositories: (_globs, signal) => admin.repositories(signal),
    tags: async (repository, signal) => {
      const tags: SourceTag[] = [];
      for await (const tag of admin.tags(repository, signal)) tags.push(tag);
      return tags;
    },
  };
}

/**
 * Any registry (Harbor, distribution, zot): repositories are its catalog, or those that a rule names in
 * full; a HEAD for each tag tells whether it moved, or a GET where HEAD does not say.
 * @param upstreamOf the primary as the place of that registry's content
 */
export function registrySource(parts: {
  readonly upstreamOf: (registry: string) => Upstream | undefined;
  readonly catalog: (signal: AbortSignal) => Promise<Listed<string>>;
}): SyncSource {
  return {
    async *repositories(globs, signal) {
      const named = globs.filter((glob) => !/[*?{[]/.test(glob));
      for (const text of named) yield split(text);
      const patterns = globs.filter((glob) => !named.includes(glob));
      if (patterns.length === 0) return;
      const registries = new Set(patterns.map((glob) => split(glob).registry));
      const { items, missing } = await parts.catalog(signal);
      for (const name of items) {
        for (const registry of registries) yield { registry, name };
      }
      // What is listed is copied; that it is not all is no success.
      if (missing !== undefined) {
        throw new MirrorError('UPSTREAM_INVALID', incomplete('the catalog', missing));
      }
    },
    tags: async ({ registry, name }, signal) => {
      const upstream = parts.upstreamOf(registry);
      if (upstream === undefined) return [];
      const wait = { signal, priority: () => 'sync' as const };
      const found: SourceTag[] = [];
      const { items, missing } = await upstream.listTags(name, wait);
      // What is not listed would count as deleted.
      if (missing !== undefined) {
        throw new MirrorError(
          'UPSTREAM_INVALID',
          incomplete(`the list of the tags of ${name}`, missing),
        );
      }
      for (const tag of items) {
        const digest = await findNamed(upstream, name, tag, wait);
        if (digest !== undefined) found.push({ tag, digest });
      }
      return found;
    },
  };
}

function incomplete(list: string, missing: string): string {
  return `${list} is incomplete: ${missing}`;
}

/** What a tag names; undefined when it is listed, and not there. */
async function findNamed(
  upstream: Upstream,
  name: string,
  tag: string,
  wait: Parameters<Upstream['resolve']>[2],
): Promise<Digest | undefined> {
  try {
    const { digest } = await upstream.resolve(name, { tag }, wait);
    if (digest !== undefined) return digest;
    // Some refuse HEAD, or leave the digest out.
    const fetched = await upstream.fetchManifest(name, { tag }, wait);
    return digestOf(fetched.bytes, fetched.digest);
  } catch (error) {
    if (isMirrorError(error, 'MANIFEST_UNKNOWN') && isCertain(error)) return undefined;
    throw error;
  }
}

function split(text: string): Repository {
  const slash = text.indexOf('/');
  return { registry: text.slice(0, slash), name: text.slice(slash + 1) };
}
