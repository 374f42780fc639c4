import type { Digest } from '../../oci/digest.ts';
import { repositoryKey, type Repository } from '../../oci/reference.ts';
import type { BlobStore, WalkedBlob } from '../../store/blob-store.ts';
import type { Link, Names, TagRecord } from '../../store/names.ts';
import { contentOf, findManifest, type StoredManifest } from './image-walk.ts';

/** What of the names is taken for gone, beside what is not held by anything else. */
export interface Doomed {
  tag(repository: Repository, tag: string, record: TagRecord, stored: Stored): boolean;
  /** Asked of manifests that no tag, pin or living manifest names. */
  manifest(repository: Repository, digest: Digest, stored: Stored): boolean;
}

export type Stored = ReadonlyMap<Digest, WalkedBlob>;

export interface RepositorySurvey {
  readonly repository: Repository;
  readonly doomedTags: readonly { readonly tag: string; readonly record: TagRecord }[];
  /** Manifests that are here and that nothing holds any more. */
  readonly doomedManifests: readonly StoredManifest[];
  /** Links to what no living manifest of the repository names and the store does not have, or will not. */
  readonly idleLinks: readonly Digest[];
}

export interface Survey {
  readonly stored: Stored;
  /** All that a living manifest of any repository names, and the pinned. */
  readonly living: ReadonlySet<Digest>;
  readonly repositories: readonly RepositorySurvey[];
}

export interface SurveyParts {
  readonly store: BlobStore;
  readonly names: Names;
  /** Ends when every manifest that is linked is also stored. */
  readonly manifests: { written(): Promise<void> };
}

/**
 * Which content something still names: tags hold manifests, pins and manifests hold what they name.
 * Reads every manifest that is here. Memory: some 200 bytes a blob.
 */
export async function survey(
  parts: SurveyParts,
  doomed: Doomed,
  signal: AbortSignal,
): Promise<Survey> {
  const { store, names } = parts;
  const stored = new Map<Digest, WalkedBlob>();
  for await (const blob of store.walk()) stored.set(blob.digest, blob);
  const living = new Set<Digest>();
  for (const { keeps } of names.pins.list()) for (const digest of keeps) living.add(digest);
  const repositories: RepositorySurvey[] = [];
  for await (const repository of names.links.repositories()) {
    signal.throwIfAborted();
    const found = await surveyRepository(parts, repository, doomed, stored);
    for (const digest of found.living) living.add(digest);
    repositories.push(found.survey);
  }
  return { stored, living, repositories };
}

async function surveyRepository(
  { store, names, manifests: shelf }: SurveyParts,
  repository: Repository,
  doomed: Doomed,
  stored: Stored,
): Promise<{ survey: RepositorySurvey; living: Set<Digest> }> {
  const manifests = new Map<Digest, StoredManifest>();
  const links: Link[] = [];
  for await (const link of names.links.walk(repository)) links.push(link);
  // What was linked so far is on the disk then, and what is linked from now on is not in the list.
  await shelf.written();
  for (const { digest, kind, mediaType } of links) {
    if (kind !== 'manifest') continue;
    const found = await findManifest(store, digest, mediaType);
    if (found !== undefined) manifests.set(digest, found);
  }
  const held = new Set<Digest>();
  const hold = (digest: Digest): void => {
    const found = manifests.get(digest);
    if (found === undefined || held.has(digest)) return;
    held.add(digest);
    for (const child of found.manifest.manifests) hold(child.digest);
  };
  const doomedTags: { tag: string; record: TagRecord }[] = [];
  for await (const named of names.tags.walk(repository)) {
    if (doomed.tag(repository, named.tag, named.record, stored)) doomedTags.push(named);
    else hold(named.record.digest);
  }
  const key = repositoryKey(repository);
  for (const pin of names.pins.list()) {
    if (repositoryKey(pin.repository) === key) hold(pin.digest);
  }
  for (const digest of manifests.keys()) {
    if (!held.has(digest) && !doomed.manifest(repository, digest, stored)) hold(digest);
  }
  // What refers to something that stays, a signature for one, stays with it.
  for (const { digest, manifest } of manifests.values()) {
    if (manifest.subject !== undefined && held.has(manifest.subject.digest)) hold(digest);
  }
  const alive = [...manifests.values()].filter(({ digest }) => held.has(digest));
  const doomedManifests = [...manifests.values()].filter(({ digest }) => !held.has(digest));
  const living = contentOf(alive);
  const leaving = new Set(doomedManifests.map(({ digest }) => digest));
  const named = contentOf(doomedManifests);
  const idleLinks: Digest[] = [];
  for (const { digest } of links) {
    if (living.has(digest)) continue;
    const isLeaving = leaving.has(digest) || named.has(digest);
    if (isLeaving || !(await store.has(digest))) idleLinks.push(digest);
  }
  return { survey: { repository, doomedTags, doomedManifests, idleLinks }, living };
}
