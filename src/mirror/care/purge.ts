import picomatch from 'picomatch';
import type { Work } from '../../base/work.ts';
import type { Digest } from '../../oci/digest.ts';
import { repositoryKey, type Reference, type Repository } from '../../oci/reference.ts';
import { byPerson } from '../../store/pins.ts';
import { removeAll, tagName, type CollectParts, type Removed } from './collect.ts';
import { contentOf, manifestsOf } from './image-walk.ts';
import { survey, type Doomed } from './survey.ts';

/** What a person wants gone; what fits any of these. */
export interface PurgeSelection {
  readonly references: readonly {
    readonly repository: Repository;
    readonly reference: Reference;
  }[];
  /** Content, in whatever repository. */
  readonly digests: readonly Digest[];
  /** Globs on `registry/name` and on `registry/name:tag`; `**` crosses slashes. */
  readonly patterns: readonly string[];
  /** What was not used for so long. */
  readonly olderThanMs: number | undefined;
}

/**
 * Removes images, and of their content what nothing else names. Pinned images stay: they are in the
 * log. A client that reads something of it reads it to its end.
 */
export async function purge(
  parts: CollectParts,
  selection: PurgeSelection,
  work: Work,
): Promise<Removed> {
  const { store, names } = parts;
  const candidates = new Set<Digest>(selection.digests);
  const isWanted = wantedBy(selection, parts.clock.wallMs());
  const usedMs = new Map<Digest, number>();
  if (selection.olderThanMs !== undefined) {
    for await (const blob of store.walk()) {
      usedMs.set(blob.digest, blob.usedMs);
      if (isWanted.blob(blob.usedMs)) candidates.add(blob.digest);
    }
  }
  // Children of what goes are no reason to stay for one another.
  const doomedTags = new Set<string>();
  const doomedManifests = new Set<string>();
  for await (const repository of names.links.repositories()) {
    work.signal.throwIfAborted();
    const key = repositoryKey(repository);
    const chosen: { digest: Digest; tag?: string }[] = [];
    for await (const { tag, record } of names.tags.walk(repository)) {
      if (isWanted.image(repository, { tag }, record.digest, usedMs.get(record.digest))) {
        chosen.push({ digest: record.digest, tag });
      }
    }
    for await (const { digest, kind } of names.links.walk(repository)) {
      if (kind !== 'manifest') continue;
      if (isWanted.image(repository, { digest }, digest, usedMs.get(digest))) {
        chosen.push({ digest });
      }
    }
    for (const { digest, tag } of chosen) {
      const pin = tag === undefined ? undefined : names.pins.find(repository, tag);
      if (tag !== undefined && pin !== undefined) {
        const rule = pin.by.find((holder) => holder !== byPerson);
        const why = rule === undefined ? 'it is pinned; unpin it first' : `${rule} pins it`;
        work.log(`kept ${tagName(repository, tag)}: ${why}`);
        continue;
      }
      if (tag !== undefined) doomedTags.add(tagName(repository, tag));
      const manifests = await manifestsOf(store, digest, undefined);
      for (const one of manifests) doomedManifests.add(`${key}@${one.digest}`);
      for (const one of contentOf(manifests)) candidates.add(one);
    }
  }
  const doomed: Doomed = {
    tag: (repository, tag) => doomedTags.has(tagName(repository, tag)),
    manifest: (repository, digest) => doomedManifests.has(`${repositoryKey(repository)}@${digest}`),
  };
  const found = await survey(parts, doomed, work.signal);
  const direct = new Set(selection.digests);
  for (const digest of direct) {
    if (names.pins.isPinned(digest)) work.log(`kept ${digest}: a pinned image needs it`);
  }
  const idle = [...candidates].filter((digest) => {
    if (!found.stored.has(digest)) return false;
    // Named outright, it goes although manifests name it: the next pull fetches it anew.
    return !found.living.has(digest) || (direct.has(digest) && !names.pins.isPinned(digest));
  });
  return removeAll(parts, found, idle, work);
}

interface Wanted {
  blob(usedMs: number): boolean;
  image(
    repository: Repository,
    reference: Reference,
    digest: Digest,
    usedMs: number | undefined,
  ): boolean;
}

function wantedBy(selection: PurgeSelection, now: number): Wanted {
  const { olderThanMs, digests } = selection;
  const isOld = (usedMs: number | undefined): boolean =>
    olderThanMs !== undefined && usedMs !== undefined && now - usedMs > olderThanMs;
  const matches = selection.patterns.map((pattern) => picomatch(pattern, { nonegate: true }));
  const named = new Set(
    selection.references.map(({ repository, reference }) => nameOf(repository, reference)),
  );
  return {
    blob: isOld,
    image: (repository, reference, digest, usedMs) =>
      named.has(nameOf(repository, reference)) ||
      digests.includes(digest) ||
      isOld(usedMs) ||
      matches.some(
        (match) => match(repositoryKey(repository)) || match(nameOf(repository, reference)),
      ),
  };
}

function nameOf(repository: Repository, { tag, digest }: Reference): string {
  return tag === undefined ? `${repositoryKey(repository)}@${digest}` : tagName(repository, tag);
}
