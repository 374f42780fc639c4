import type { Digest } from '../../oci/digest.ts';
import { isForeign, parseManifest, type Manifest } from '../../oci/manifest.ts';
import type { BlobStore } from '../../store/blob-store.ts';
import { readAll } from '../read-all.ts';

/** A manifest that is here; what it names may be or not. */
export interface StoredManifest {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly bytes: Buffer;
  readonly manifest: Manifest;
}

/** An index in an index is legal; one deeper than this is nobody's image. */
const depthMax = 3;

/** The manifest of that digest, when it is here and is one. */
export async function findManifest(
  store: BlobStore,
  digest: Digest,
  mediaType: string | undefined,
): Promise<StoredManifest | undefined> {
  const bytes = await readAll(store, digest, false);
  if (bytes === undefined) return undefined;
  try {
    const manifest = parseManifest(bytes, mediaType);
    return { digest, mediaType: manifest.mediaType, bytes, manifest };
  } catch {
    return undefined;
  }
}

/** A manifest and those below it that are here, each once, the top first. */
export async function manifestsOf(
  store: BlobStore,
  digest: Digest,
  mediaType: string | undefined,
): Promise<StoredManifest[]> {
  const found = new Map<Digest, StoredManifest>();
  const visit = async (at: Digest, type: string | undefined, depth: number): Promise<void> => {
    if (found.has(at) || depth > depthMax) return;
    const one = await findManifest(store, at, type);
    if (one === undefined) return;
    found.set(at, one);
    for (const child of one.manifest.manifests)
      await visit(child.digest, child.mediaType, depth + 1);
  };
  await visit(digest, mediaType, 0);
  return [...found.values()];
}

/** All that these manifests are made of, themselves included, here or not. */
export function contentOf(manifests: readonly StoredManifest[]): Set<Digest> {
  const content = new Set<Digest>();
  for (const { digest, manifest } of manifests) {
    content.add(digest);
    for (const child of manifest.manifests) content.add(child.digest);
    for (const blob of manifest.blobs) if (!isForeign(blob)) content.add(blob.digest);
  }
  return content;
}
